"""An S3 server on the loopback, in a process that has moto (test/helpers/s3_server.txt).

It makes the bucket `bucket` and prints a line of JSON: port, the one key that opens it, and its secret. Then it obeys
the lines `stop` and `start` on standard input, answers each with one, and keeps its contents meanwhile.
"""
import json
import sys
import urllib.request
import warnings

warnings.simplefilter('ignore')  # boto3 announces the end of Python 3.7

import boto3  # noqa: E402
from launching import free_ports  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

HOST = '127.0.0.1'
EVERYTHING = {'Version': '2012-10-17', 'Statement': [{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}]}


def start(port):
    server = ThreadedMotoServer(HOST, port, verbose=False)
    server.start()
    return server


def make_user(url):
    """Makes bucket and user while nobody's key is asked for; then everybody's is."""
    client = dict(endpoint_url=url, region_name='us-east-1', aws_access_key_id='none', aws_secret_access_key='none')
    boto3.client('s3', **client).create_bucket(Bucket='bucket')
    iam = boto3.client('iam', **client)
    iam.create_user(UserName='user')
    iam.put_user_policy(UserName='user', PolicyName='all', PolicyDocument=json.dumps(EVERYTHING))
    key = iam.create_access_key(UserName='user')['AccessKey']
    urllib.request.urlopen(urllib.request.Request(
        url + '/moto-api/reset-auth', data=b'0', headers={'Content-Type': 'text/plain'})).close()
    return key['AccessKeyId'], key['SecretAccessKey']


def main():
    port = free_ports(1)
    server = start(port)
    key, secret = make_user('http://%s:%d' % (HOST, port))
    print(json.dumps({'port': port, 'key': key, 'secret': secret}), flush=True)
    for line in sys.stdin:
        if line == 'stop\n':
            server.stop()
        else:
            server = start(port)
        print('done', flush=True)


main()

"""Runs CANN's comparison tool, msaccucmp of the package mindstudio-probe: msaccucmp.py compare|convert|overflow ...

CANN itself has the library by which msaccucmp reads the header of a dump file. Here is a reader of
protocol buffers' wire format with the field numbers of CANN's dump_data.proto; all else is the tool's own.
"""
import importlib.util
import os
import struct
import sys

_SHAPE = {1: ('dim', int, True)}
_ORIGINAL = {1: ('name', str, False), 2: ('output_index', int, False), 3: ('data_type', int, False),
             4: ('format', int, False)}
_OUTPUT = {1: ('data_type', int, False), 2: ('format', int, False), 3: ('shape', _SHAPE, False),
           4: ('original_op', _ORIGINAL, False), 6: ('size', int, False), 7: ('original_shape', _SHAPE, False),
           8: ('sub_format', int, False)}
_INPUT = {1: ('data_type', int, False), 2: ('format', int, False), 3: ('shape', _SHAPE, False),
          5: ('size', int, False), 6: ('original_shape', _SHAPE, False)}
_DUMP = {1: ('version', str, False), 2: ('dump_time', int, False), 3: ('output', _OUTPUT, True),
         4: ('input', _INPUT, True), 6: ('op_name', str, False)}


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def parse(data, fields):
    """A message as a dictionary; a field that is not in `fields` is an error: nothing is skipped."""
    message, at = {}, 0
    while at < len(data):
        key, at = _varint(data, at)
        name, kind, is_repeated = fields[key >> 3]
        if key & 7 == 0:
            value, at = _varint(data, at)
            values = [value]
        else:
            assert key & 7 == 2, 'wire type %d' % (key & 7)
            length, at = _varint(data, at)
            piece, at = data[at:at + length], at + length
            values = [piece.decode()] if kind is str else [parse(piece, kind)] if kind is not int else _packed(piece)
        if is_repeated:
            message.setdefault(name, []).extend(values)
        else:
            message[name], = values
    return message


def _packed(piece):
    values, at = [], 0
    while at < len(piece):
        value, at = _varint(piece, at)
        values.append(value)
    return values


def _parse_dump_to_json(self):
    with open(self.dump_file_path, 'rb') as file:
        length, = struct.unpack('<Q', file.read(8))
        self.dump_json_data = parse(file.read(length), _DUMP)


def main():
    directory = os.path.join(os.path.dirname(importlib.util.find_spec('msprobe').origin), 'msaccucmp')
    sys.path.insert(0, directory)
    from dump_parse.big_dump_data import BigDumpDataParser
    BigDumpDataParser._parse_dump_to_json = _parse_dump_to_json
    import msaccucmp
    sys.exit(msaccucmp.main())


if __name__ == '__main__':
    main()

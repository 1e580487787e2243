"""The networks in PyTorch, as people write them there, the same as launchers/networks/ and docs/examples/ have them.

The layers are registered in the order in which ours make their variables, so that weights are handed over by their
order. TensorFlow pads a convolution of stride 2 behind the image alone and PyTorch before it as well, of which it then
reads only that before: `mirrored` networks get their images and kernels upside down and left to right, and so compute
the same without a padding of their own.
"""
import torch
from torch import nn
from torch.nn import functional


class BatchNorm2d(nn.BatchNorm2d):
    """With our epsilon."""

    def __init__(self, channels):
        super().__init__(channels, eps=1e-3)


def cross_entropy(logits, labels):
    """Labels are classes, or distributions over them."""
    return functional.cross_entropy(logits, labels)


class Classifier(nn.Module):
    """A network whose loss is that of a softmax classifier."""
    mirrored = nesterov = False
    tolerance = 1e-3               # of the loss after a step, relative

    def __init__(self, hyper_parameters):
        super().__init__()
        self.build(**hyper_parameters)

    def loss(self, images, labels):
        """The loss of a batch without weight decay."""
        return cross_entropy(self(images), labels)

    def optimizer(self, groups, learning_rate, momentum, **_):
        """The optimizer of parameter groups."""
        return torch.optim.SGD(groups, learning_rate, momentum or 0, nesterov=self.nesterov, fused=True)

    def decayed(self):
        """The weights that decay, and by how many times --weight_decay."""
        return [layer.weight for layer in self.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))], 1


class Cspnet(Classifier):
    """nets/cspdarknet53.py."""
    mirrored = True
    STAGES = (64, 1, 64, 32), (128, 2, 64, 64), (256, 8, 128, 128), (512, 8, 256, 256), (1024, 4, 512, 512)

    def build(self, **_):
        width, layers = 32, [self.conv(3, 32, 3)]
        for stage in self.STAGES:
            layers.append(self.Stage(width, *stage))
            width = stage[0]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 10)

    def forward(self, images):
        return self.classifier(self.features(images).mean((2, 3)))

    @staticmethod
    def conv(inputs, width, size, stride=1):
        return nn.Sequential(nn.Conv2d(inputs, width, size, stride, size // 2, bias=False), BatchNorm2d(width),
                             nn.Mish())

    class Stage(nn.Module):
        def __init__(self, inputs, width, blocks, half, bottleneck):
            super().__init__()
            conv = Cspnet.conv
            self.down = conv(inputs, width, 3, 2)
            self.shortcut = conv(width, half, 1)
            self.main = conv(width, half, 1)
            self.blocks = nn.ModuleList(nn.Sequential(conv(half, bottleneck, 1), conv(bottleneck, half, 3))
                                        for _ in range(blocks))
            self.partial_transition = conv(half, half, 1)
            self.transition = conv(2 * half, width, 1)

        def forward(self, x):
            x = self.down(x)
            shortcut, x = self.shortcut(x), self.main(x)
            for block in self.blocks:
                x = x + block(x)
            return self.transition(torch.cat([self.partial_transition(x), shortcut], 1))


class Alexnet(Classifier):
    """nets/alexnet.py; the towers are groups."""

    def build(self, keep_prob, **_):
        def conv(inputs, filters, size, *geometry, **groups):
            return nn.Sequential(nn.Conv2d(inputs, filters, size, *geometry, **groups), nn.ReLU(inplace=True))

        def pool():
            return nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            conv(3, 96, 11, 4), self.Norm(), pool(), conv(96, 256, 5, 1, 2, groups=2), self.Norm(), pool(),
            conv(256, 384, 3, 1, 1), conv(384, 384, 3, 1, 1, groups=2), conv(384, 256, 3, 1, 1, groups=2), pool())
        self.dropout = nn.Dropout(1 - keep_prob)
        self.hidden = nn.ModuleList([nn.Linear(256 * 6 * 6, 4096), nn.Linear(4096, 1000)])
        self.hidden[0].maps = (6, 6, 256)
        self.classifier = nn.Linear(1000, 2)

    def forward(self, images):
        x = self.features(images).flatten(1)
        for layer in self.hidden:
            x = self.dropout(functional.relu(layer(x), inplace=True))
        return self.classifier(x)

    class Norm(nn.Module):
        """The response normalisation of each tower by itself."""

        def forward(self, x):
            n, channels, *size = x.shape
            towers = x.reshape(2 * n, channels // 2, *size)
            return functional.local_response_norm(towers, 5, 5e-4, 0.75, 2.).reshape(x.shape)


class Cutmix(Classifier):
    """nets/resnet.py."""
    mirrored = True
    STAGES = (16, 1), (32, 2), (64, 2)

    def build(self, **_):
        channels, blocks = 16, []
        self.stem = self.conv(3, channels)
        for width, stride in self.STAGES:
            for number in range(3):
                blocks.append(self.Block(channels, width, 1 if number else stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, images):
        return self.classifier(self.blocks(functional.relu(self.stem(images), inplace=True)).mean((2, 3)))

    def optimizer(self, groups, learning_rate, **_):
        return torch.optim.Adam(groups, learning_rate, eps=1e-7, fused=True)

    def decayed(self):
        return [layer.weight for layer in self.modules() if isinstance(layer, nn.Conv2d)], 2

    @staticmethod
    def conv(inputs, width, stride=1):
        return nn.Sequential(nn.Conv2d(inputs, width, 3, stride, 1, bias=False), BatchNorm2d(width))

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            self.first, self.second = Cutmix.conv(inputs, width, stride), nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.shortcut = nn.Conv2d(inputs, width, 1, bias=False) if inputs != width else None
            self.norm = BatchNorm2d(width)

        def forward(self, x):
            residual = self.norm(self.second(functional.relu(self.first(x), inplace=True)))
            if self.shortcut:   # of stride 2; from the mirrored image's other pixels
                x = self.shortcut(x[:, :, 1::2, 1::2])
            return functional.relu(x + residual, inplace=True)


class Sesemi(Classifier):
    """nets/convnet.py with the two heads of launchers/networks/sesemi/model.py."""
    nesterov = True
    STAGES = (((128, 3, 1),) * 3, ((256, 3, 1),) * 3, ((512, 3, 0), (256, 1, 0), (128, 1, 0)))

    def build(self, **_):
        channels, layers = 3, []
        for number, stage in enumerate(self.STAGES):
            if number:
                layers.append(nn.MaxPool2d(2))
            for width, size, padding in stage:
                layers += [nn.Conv2d(channels, width, size, padding=padding), BatchNorm2d(width),
                           nn.LeakyReLU(0.1, inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.super_clf, self.self_clf = nn.Linear(channels, 10), nn.Linear(channels, 6)

    def loss(self, images, posed, labels, poses):
        """Of both heads, whose images are one batch of the trunk."""
        of_images, of_posed = self.features(torch.cat((images, posed))).mean((2, 3)).chunk(2)
        logits = self.super_clf(self.dropout(of_images))
        of_poses = self.self_clf(of_posed)
        return cross_entropy(logits, labels) + cross_entropy(of_poses, poses)

    def decayed(self):
        return super().decayed()[0], 2


class Swa(Classifier):
    """nets/mlp.py."""

    def build(self, **_):
        self.layers = nn.Sequential(nn.Linear(2, 50), nn.ReLU(inplace=True), nn.BatchNorm1d(50, eps=1e-3),
                                    nn.Linear(50, 3))

    def forward(self, points):
        return self.layers(points)


class Resnet50(Classifier):
    """docs/examples/resnet50.py."""
    mirrored = nesterov = True
    # 53 batch norms magnify rounding: gradients of PyTorch in float32 and in float64 differ by 2 %, as ours do, and the
    # losses after a step by up to 2.4 %. A step without Nesterov's momentum would be half as long.
    tolerance = 5e-2
    BLOCKS = 3, 4, 6, 3

    def build(self, classes, **_):
        width, blocks = 64, []
        self.stem = self.conv(3, width, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        for stage, count in enumerate(self.BLOCKS):
            for number in range(count):
                blocks.append(self.Block(width, 64 << stage, 2 if stage and not number else 1))
                width = 256 << stage
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images):
        x = self.pool(functional.relu(self.stem(images), inplace=True))
        return self.classifier(self.blocks(x).mean((2, 3)))

    @staticmethod
    def conv(inputs, width, size, stride=1):
        return nn.Sequential(nn.Conv2d(inputs, width, size, stride, size // 2, bias=False), BatchNorm2d(width))

    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            conv = Resnet50.conv
            self.stride = stride
            self.shortcut = conv(inputs, 4 * width, 1) if inputs != 4 * width else nn.Identity()
            self.first, self.second = conv(inputs, width, 1), conv(width, width, 3, stride)
            self.third = conv(width, 4 * width, 1)

        def forward(self, x):
            residual = functional.relu(self.first(x), inplace=True)
            residual = self.third(functional.relu(self.second(residual), inplace=True))
            if self.stride == 2:    # the shortcut of stride 2; from the mirrored image's other pixels
                x = x[:, :, 1::2, 1::2]
            return functional.relu(self.shortcut(x) + residual, inplace=True)


NETWORKS = dict(cspnet=Cspnet, alexnet=Alexnet, cutmix=Cutmix, sesemi=Sesemi, swa=Swa, resnet50=Resnet50)

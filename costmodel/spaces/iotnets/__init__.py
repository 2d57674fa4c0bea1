"""The random CIFAR-10 networks of iotnets (Scheidegger et al., NeurIPS 2019, arXiv 1909.10818): five families.

Each family is a network of the literature whose widths and depths are drawn at random; a law (s1: large, to s3 or s6: small)
gives the ranges. Images are 3 x 32 x 32, and the last pool needs them so.
"""

from costmodel.spaces.iotnets.densenet import iotnets_densenet as iotnets_densenet
from costmodel.spaces.iotnets.googlenet import iotnets_googlenet as iotnets_googlenet
from costmodel.spaces.iotnets.mobilenet_v2 import iotnets_mobilenet_v2 as iotnets_mobilenet_v2
from costmodel.spaces.iotnets.pnasnet import iotnets_pnasnet as iotnets_pnasnet
from costmodel.spaces.iotnets.resnext import iotnets_resnext as iotnets_resnext

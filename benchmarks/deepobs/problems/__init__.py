"""Which problems are there?"""

from benchmarks.deepobs.problem import Problem
from benchmarks.deepobs.problems.cifar10_3c3d import Cifar3c3d
from benchmarks.deepobs.problems.cifar100_allcnnc import CifarAllCnn
from benchmarks.deepobs.problems.fmnist_2c2d import Fashion2c2d
from benchmarks.deepobs.problems.quadratic_deep import QuadraticDeep
from benchmarks.deepobs.problems.tolstoi_char_rnn import TolstoiCharRnn
from benchmarks.deepobs.problems.vae import FashionVae, MnistVae

PROBLEMS: dict[str, type[Problem]] = {
    kind.name: kind
    for kind in (
        QuadraticDeep,
        MnistVae,
        Fashion2c2d,
        FashionVae,
        Cifar3c3d,
        CifarAllCnn,
        TolstoiCharRnn,
    )
}

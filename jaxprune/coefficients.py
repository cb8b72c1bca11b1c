"""What one of each amount in `costs` costs. Written by `benchmarks.scaling`; do not edit."""

REFERENCE_SECONDS = 0.04061
"""Processor seconds of `speeds.network_seconds` where the others were measured."""

SECONDS = {
    "looping": 0.0003155,
    "acting": 1.118e-05,
    "learning": 0.0,
    "updating": 0.0,
    "parameter": 5.068e-09,
    "product": 2.405e-11,
    "playing": 3.18e-06,
    "gradient": 0.0,
    "attacking product": 6.664e-11,
    "certified member": 0.01592,
    "bounding product": 4.801e-11,
    "slope product": 1.811e-09,
    "shifted state": 1.947e-05,
    "shifting product": 1.079e-10,
}
"""Processor seconds of one of each."""

COMPILING = {
    "training": 16.97,
    "evaluation": 3.631,
    "attack": 1.706,
    "certificates": 20.38,
    "returned": 18.6,
}
"""Processor seconds of compiling the training of one arm, an evaluation, each attack in it, and so on."""

BYTES = {
    "seen": 8.66,
    "remembered": 40.44,
    "copied": 19.05,
    "activation": 7.207,
}
"""Bytes of one of each, of a member that is trained."""

"""What one of each amount in `costs` costs. Written by `benchmarks.scaling`; do not edit."""

REFERENCE_SECONDS = 0.04028
"""Processor seconds of `speeds.network_seconds` where the others were measured."""

SECONDS = {
    "looping": 6.302e-05,
    "acting": 1.164e-05,
    "learning": 2.185e-07,
    "updating": 0.0,
    "parameter": 4.286e-09,
    "product": 2.58e-11,
    "playing": 2.728e-06,
    "gradient": 0.0,
    "attacking product": 1.091e-10,
    "certified member": 0.01503,
    "bounding product": 6.126e-11,
    "slope product": 1.985e-09,
    "shifted state": 3.081e-05,
    "shifting product": 1.055e-10,
}
"""Processor seconds of one of each."""

COMPILING = {
    "training": 21.75,
    "evaluation": 4.056,
    "attack": 2.694,
    "certificates": 22.66,
    "returned": 25.04,
}
"""Processor seconds of compiling the training of one arm, an evaluation, each attack in it, and so on."""

BYTES = {
    "seen": 8.662,
    "remembered": 79.78,
    "copied": 19.01,
    "activation": 6.947,
}
"""Bytes of one of each, of a member that is trained."""

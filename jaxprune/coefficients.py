"""What one of each amount in `costs` costs. Written by `benchmarks.scaling`; do not edit."""

REFERENCE_SECONDS = 0.04028
"""Processor seconds of `speeds.network_seconds` where the others were measured."""

SECONDS = {
    "looping": 7.379e-05,
    "acting": 1.46e-05,
    "learning": 0.0,
    "updating": 0.0,
    "parameter": 4.36e-09,
    "product": 2.552e-11,
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
    "training": 21.01,
    "evaluation": 4.056,
    "attack": 2.694,
    "certificates": 22.66,
    "returned": 25.04,
}
"""Processor seconds of compiling the training of one arm, an evaluation, each attack in it, and so on."""

BYTES = {
    "seen": 8.658,
    "remembered": 79.94,
    "copied": 19.03,
    "activation": 6.938,
}
"""Bytes of one of each, of a member that is trained."""

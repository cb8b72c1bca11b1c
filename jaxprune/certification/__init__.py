"""Certificates of a population, and the audit: whether pruning raised a bound, or what an attack finds."""

from jaxprune.certification.procedure import (
    Certification,
    check_resumable,
    returns_under_attack,
    run,
)
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.smoothing import SmoothingSpec
from jaxprune.certification.spec import CertificationSpec
from jaxprune.certification.tables import certificates
from jaxprune.certification.visited import Certified, certify

__all__ = [
    "Certification",
    "CertificationSpec",
    "Certified",
    "ReturnSpec",
    "SmoothingSpec",
    "certificates",
    "certify",
    "check_resumable",
    "returns_under_attack",
    "run",
]

"""The battery of attacks: attackers searched for, the strongest measured anew, and all of them counted."""

from jaxprune.battery.spec import KNOWN, BatterySpec
from jaxprune.battery.story import Battery, run, total_steps
from jaxprune.battery.tables import of_a_run

__all__ = ["KNOWN", "Battery", "BatterySpec", "of_a_run", "run", "total_steps"]

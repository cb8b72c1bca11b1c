"""The battery of attacks: attackers searched for, the strongest measured anew, and all of them counted."""

from jaxprune.battery.spec import KNOWN, BatterySpec
from jaxprune.battery.story import Battery, run, total_steps
from jaxprune.battery.tables import STRONGEST

__all__ = ["KNOWN", "STRONGEST", "Battery", "BatterySpec", "run", "total_steps"]

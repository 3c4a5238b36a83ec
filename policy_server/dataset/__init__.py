"""Commands over recorded datasets: describe, verify, exchange with LeRobot. No torch."""

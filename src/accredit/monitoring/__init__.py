"""Does an agent still behave as approved? Posture against its baseline, things never seen before, use, alerts.

What always holds: posture is compared by digest, exactly; an alert names its evidence; what is to be done about it is
returned as a value and carried out by the lifecycle room; nothing here widens.
"""

"""What clients of a host see today, as text that is reviewed like code: ``make goldens`` rewrites it."""

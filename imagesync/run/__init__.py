"""One pass: observe, plan, apply, report."""

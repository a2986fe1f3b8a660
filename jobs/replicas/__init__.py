"""Which replica works on which dataset: leases, assignment, identity."""

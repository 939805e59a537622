"""Operating experiments: the cluster, the doctor, progress, and records and sharing of results."""

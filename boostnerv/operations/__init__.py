"""What surrounds experiments: the cluster, the doctor, progress, records and sharing of results."""

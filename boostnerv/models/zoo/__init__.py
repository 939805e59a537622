"""One file per model; the file name with hyphens is the model's name. See `boostnerv.models.architecture`."""

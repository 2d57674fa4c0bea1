"""Every file format, as pydantic models: network specs, devices, measurements, profiles. Nowhere else."""

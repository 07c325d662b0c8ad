"""What deploy/Dockerfile installs, run as a container would run it, without a container engine."""

"""What the images of deploy/Dockerfile are installed and started by. No module here is needed outside an image."""

"""The demo's own data: an invented catalogue and a day of six invented readers. Nothing here is about real people."""

"""From bytes to valid events and items, or to dead letters. Pure: no server, no clock; nothing here knows of nodes."""

"""What is worth watching, as data: dashboards of panels, each a few queries. It asks nobody and draws nothing."""

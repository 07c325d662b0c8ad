"""Grafana's dashboards, made from `streams/dashboards/`, and what Grafana is given to find them."""

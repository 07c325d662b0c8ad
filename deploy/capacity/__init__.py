"""A model of the service under load, with measured costs: what a lost worker or a rush does to the lag."""

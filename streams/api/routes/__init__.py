"""The routes, one module an area: parameters in, a service called, an answer out."""

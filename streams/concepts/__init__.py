"""From labels and vectors to paths: the concept tree, its files and its builders. Asks no server: vectors are given."""

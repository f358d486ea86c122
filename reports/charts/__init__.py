"""Positions of everything in the pictures of a report; ``templates/charts.html.j2`` draws them, without a script."""

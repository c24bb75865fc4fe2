"""Charts that are drawn again in place."""

from app.chart.widget import chart

__all__ = ["chart"]

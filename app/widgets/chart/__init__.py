"""Charts that are drawn again in place."""

from app.widgets.chart.widget import chart

__all__ = ["chart"]

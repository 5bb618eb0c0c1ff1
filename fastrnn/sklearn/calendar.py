"""Series with dates: their step, gaps, missing values, and the dates that follow. pandas is there where dates are."""

from typing import NamedTuple

import numpy as np

from .frames import check_order, dates_of, pandas_of

FILLS = ("linear", "previous")
SHOWN = 3  # dates of a gap that an error names


class Calendar(NamedTuple):
    """What a series' dates are, in plain values: the step as pandas writes it, and the last of them.

    last : str
        In ISO format; of a period its number.
    zone, unit : str or None
        Of the dates; None for periods.
    index_name, name, columns
        Of the index, of a series, and of a frame (None for a series).
    """

    period: bool
    step: str
    last: str
    zone: str | None
    unit: str | None
    index_name: str | int | None
    name: str | int | None
    columns: list | None

    def values_of(self, estimator):
        """A plain tuple, the columns in the estimator's order."""
        names = getattr(estimator, "feature_names_in_", None)
        return tuple(self if self.columns is None or names is None else self._replace(columns=list(names)))

    def dated(self, values):
        """A pandas series of values (H,), or a frame of (H, C), with the dates that follow."""
        try:
            import pandas
        except ModuleNotFoundError:
            raise ImportError("forecasts with dates need pandas: pip install pandas") from None
        steps = len(values) + 1
        if self.period:
            last = pandas.Period(ordinal=int(self.last), freq=self.step)
            index = pandas.period_range(last, periods=steps, name=self.index_name)
        else:
            last = pandas.Timestamp(self.last)
            last = last if self.zone is None else last.tz_convert(self.zone)
            index = pandas.date_range(last, periods=steps, freq=self.step, name=self.index_name)
            index = index if self.unit is None else index.as_unit(self.unit)
        if self.columns is None:
            return pandas.Series(values, index=index[1:], name=self.name)
        return pandas.DataFrame(values, index=index[1:], columns=self.columns)


LABEL = str, int, type(None)
KINDS = bool, str, str, (str, type(None)), (str, type(None)), LABEL, LABEL, (list, type(None))


def check_calendars(values, name):
    """Those of an estimator's file: a list of None or of the values of a `Calendar`."""
    if not isinstance(values, list):
        raise TypeError(f"{name}: expected a list, found {type(values).__name__}")
    for value in values:
        if value is None:
            continue
        if not isinstance(value, tuple) or len(value) != len(KINDS) or not all(map(isinstance, value, KINDS)) or (
                not all(isinstance(label, LABEL) for label in value[-1] or ())):
            raise ValueError(f"{name}: expected what the dates of a series are, found another value")


def read_dates(X, name, step=None, fill=None):
    """(X, its `Calendar`): a pandas series or frame whose dates have been checked; (X, None) without dates.

    Parameters
    ----------
    step : str, optional
        The step that X has to have; by default that of its index, or what its dates have in common.
    fill : str or None
        None: dates that are missing are an error; else X gets them, without values.

    Raises
    ------
    ValueError
        For dates that are not in order, twice there, missing, or not a step apart.
    """
    dates = dates_of(X)
    if dates is None or not len(dates):
        return X, None
    pandas = pandas_of(X)
    if dates.hasnans:
        raise ValueError(f"{name}: expected a date for each step, found NaT")
    check_order(X, name)
    if not dates.is_unique:
        twice = dates[dates.duplicated()]
        raise ValueError(f"{name}: expected each date once, found {_listed(twice.unique())} more than once")
    period = isinstance(dates, pandas.PeriodIndex)
    found = _step(pandas, dates, name, period, step)
    whole = _range(pandas, dates, found)
    between = dates.difference(whole)
    if len(between):
        raise ValueError(f"{name}: expected dates at steps of {found}, found {_listed(between)} between them")
    if len(whole) > len(dates):
        if fill is None:
            gaps = _listed(whole.difference(dates))
            raise ValueError(f"{name}: expected a step for each date, found none for {gaps}; fill_missing= fills them")
        X = X.reindex(whole)
    frame = isinstance(X, pandas.DataFrame)
    return X, Calendar(
        period, found, str(dates[-1].ordinal) if period else dates[-1].isoformat(),
        None if period or dates.tz is None else str(dates.tz), None if period else getattr(dates, "unit", None),
        _label(dates.name), None if frame else _label(X.name), list(map(_label, X.columns)) if frame else None)


def fill_values(x, how, name):
    """x (T, C) with values in the place of NaN.

    "linear": on the line between the values before and behind; "previous": the value before.
    """
    missing = np.isnan(x)
    if how is None or not missing.any():
        return x
    x, steps = x.copy(), np.arange(len(x))
    for k in np.flatnonzero(missing.any(axis=0)):
        known = np.flatnonzero(~missing[:, k])
        ends = (0, len(x) - 1) if how == "linear" else (0,)
        if any(end not in known for end in ends):
            where = "the first and the last step" if how == "linear" else "the first step"
            raise ValueError(f"{name}: expected a value at {where} of each feature to fill from, "
                             f"found NaN in that with number {k}")
        if how == "linear":
            x[:, k] = np.interp(steps, known, x[known, k])
        else:
            x[:, k] = x[known[np.searchsorted(known, steps, side="right") - 1], k]
    return x


def _step(pandas, dates, name, period, wanted):
    """The step of dates as pandas writes it."""
    own = dates.freqstr
    if own is None:
        if wanted is not None and len(dates.difference(_range(pandas, dates, wanted))) == 0:
            return wanted
        own = _inferred(pandas, dates, name)
    elif not period and pandas.tseries.frequencies.to_offset(own) != dates.freq:
        raise ValueError(f"{name}: expected dates at a step that has a name, found {dates.freq!r}")
    if wanted not in (None, own):
        raise ValueError(f"{name}: expected dates at steps of {wanted} as before, found {own}")
    return own


def _inferred(pandas, dates, name):
    """The step that stretches of the dates have, and all dates fit to."""
    for size in sorted({min(len(dates), size) for size in (len(dates), 8, 5, 3)}, reverse=True):
        if size < 3:
            continue
        for start in range(0, len(dates) - size + 1, max(1, size // 2, len(dates) // 64)):
            step = pandas.DatetimeIndex(dates[start : start + size], freq="infer").freqstr
            if step is not None and not len(dates.difference(_range(pandas, dates, step))):
                return step
    raise ValueError(f"{name}: expected at least three dates, at even steps; found {len(dates)} from {dates[0]} to "
                     f"{dates[-1]} that have none in common; give an index with freq")


def _range(pandas, dates, step):
    make = pandas.period_range if isinstance(dates, pandas.PeriodIndex) else pandas.date_range
    return make(dates[0], dates[-1], freq=step, name=dates.name)


def _listed(dates):
    more = len(dates) - SHOWN
    return ", ".join(map(str, dates[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _label(label):
    """A label that a file holds."""
    return label if isinstance(label, (str, int, type(None))) else str(label)

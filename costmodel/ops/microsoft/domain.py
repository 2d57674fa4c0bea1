"""The decorator of this folder's rules."""

from __future__ import annotations

from functools import partial

from costmodel.ops.registry import rule

microsoft = partial(rule, domain="com.microsoft")

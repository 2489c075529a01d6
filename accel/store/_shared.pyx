# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=False
"""The compiled side of the shared store. Why each step is safe stands at the top of `layout`; read that first.

Cut in parts, each knowing only those before it: words (atomics, hash, the meaning of a word), map (where things lie),
index (slots and pins), space (segments, reclaiming, policy), record (what a reader holds), core and writer (the store's
verbs), glance (what compiled callers use), check (the walk that proves it all) and warm (what a file keeps
over a restart).
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from libc.time cimport time as seconds_now

from collections import OrderedDict

include "_words.pxi"
include "_map.pxi"
include "_index.pxi"
include "_policy.pxi"
include "_space.pxi"
include "_record.pxi"
include "_core.pxi"
include "_glance.pxi"
include "_writer.pxi"
include "_check.pxi"
include "_warm.pxi"

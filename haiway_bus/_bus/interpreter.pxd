# Functions and macros of the interpreter.

from cpython.object cimport PyObject, PyTypeObject

cdef extern from *:
    """
    /* Whether a type can be that of an event. It says no for exceptions, which refusals.py looks at more closely. */
    #define HB_IS_EVENT_TYPE(type) \
        ((((PyTypeObject *)(type))->tp_flags \
          & (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_BASETYPE \
             | Py_TPFLAGS_BASE_EXC_SUBCLASS | Py_TPFLAGS_TYPE_SUBCLASS)) \
         == (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_BASETYPE))
    """
    bint HB_IS_EVENT_TYPE(PyObject *)

cdef extern from *:
    """
    /* The hook for async generators that the running loop of this thread has set. Each run of a loop has its own. */
    #if PY_VERSION_HEX >= 0x030D0000
    #define HB_RUN() (PyThreadState_GetUnchecked()->async_gen_firstiter)
    #else
    #define HB_RUN() (_PyThreadState_UncheckedGet()->async_gen_firstiter)
    #endif
    """
    PyObject *HB_RUN() noexcept

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    unsigned long PyThread_get_thread_ident() noexcept
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    int PyContext_Enter(PyObject *) except -1
    int PyContext_Exit(PyObject *) except -1
    int PyContextVar_Get(PyObject *, PyObject *, PyObject **) except -1

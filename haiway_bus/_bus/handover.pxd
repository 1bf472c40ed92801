# How an event is handed to the interpreter: how a read is stepped, and the StopIteration that carries the event.
#
# CPython 3.11 steps an awaitable through the slot am_send, which returns the event plainly; so does a Task, on every
# version. `await` in 3.12 to 3.14 calls tp_iternext instead and takes the event out of a StopIteration. To make that
# exception each time would cost more than all the rest of a delivery, so one instance serves again and again.
#
# It is a StopIteration like any other, also to a debugger that sees it pass (guarantee 2.15). `await` lets go of it
# and then of the read that it has stepped, so that the read's own end is where the event is taken out of it
# (guarantee 3.2). Whoever else has got hold of it by then keeps it, and another one serves from then on. And it is not
# used where the read will not end with this step, because somebody holds that, too.

from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT

cdef extern from *:
    """
    /* Whether a read ends with the step that it is taking: whoever steps it holds the only reference, to let go of it.
       From 3.14 on a variable lends what it holds, so that one reference may also be the variable's. */
    #if PY_VERSION_HEX >= 0x030E0000
    #define HB_IS_LAST_STEP(receive) PyUnstable_Object_IsUniqueReferencedTemporary(receive)
    #else
    #define HB_IS_LAST_STEP(receive) (Py_REFCNT(receive) == 1)
    #endif

    #if PY_VERSION_HEX >= 0x030C0000
    static PyObject *hb_spare = NULL;  /* its value is None while it is at rest */
    static destructor hb_receive_free = NULL;

    static void hb_empty_spare(void)
    {
        PyStopIterationObject *spare = (PyStopIterationObject *)hb_spare;
        if (Py_REFCNT(spare) == 1 && spare->traceback == NULL && spare->dict == NULL && spare->context == NULL
                && spare->cause == NULL && spare->notes == NULL && !spare->suppress_context
                && PyTuple_GET_SIZE(spare->args) == 0) {
            PyObject *event = spare->value;
            spare->value = Py_NewRef(Py_None);
            Py_DECREF(event);
        } else {
            hb_spare = NULL;
            Py_DECREF(spare);
        }
    }

    static void hb_receive_dealloc(PyObject *self)
    {
        hb_receive_free(self);
        /* Last: to free an event may run any code. */
        if (hb_spare != NULL && ((PyStopIterationObject *)hb_spare)->value != Py_None)
            hb_empty_spare();
    }

    static int hb_spare_is_free(void)
    {
        if (hb_spare == NULL && (hb_spare = PyObject_CallNoArgs(PyExc_StopIteration)) == NULL)
            return -1;
        return Py_REFCNT(hb_spare) == 1 && ((PyStopIterationObject *)hb_spare)->value == Py_None;
    }
    #endif

    /* Raises a StopIteration with this event; takes over the reference to it. */
    static void hb_raise_stop(PyObject *receive, PyObject *event)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        int is_free = HB_IS_LAST_STEP(receive) ? hb_spare_is_free() : 0;
        if (is_free == 1) {
            PyStopIterationObject *spare = (PyStopIterationObject *)hb_spare;
            Py_DECREF(spare->value);
            spare->value = event;
            PyErr_SetRaisedException(Py_NewRef(hb_spare));
            return;
        }
        PyObject *stop = is_free < 0 ? NULL : PyObject_CallOneArg(PyExc_StopIteration, event);
        Py_DECREF(event);
        if (stop != NULL)
            PyErr_SetRaisedException(stop);
    #else
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, event);
        Py_DECREF(event);
        if (stop != NULL)
            PyErr_Restore(Py_NewRef(PyExc_StopIteration), stop, NULL);
    #endif
    }

    /* Gives the type of the reads these slots. */
    static int hb_set_slots(PyObject *receive_type, sendfunc send, iternextfunc next)
    {
        /* Only subscriptions make one: without its subscription it would read from nowhere. */
        if (PyDict_DelItemString(((PyTypeObject *)receive_type)->tp_dict, "__new__") < 0)
            return -1;
        ((PyTypeObject *)receive_type)->tp_new = NULL;
        ((PyTypeObject *)receive_type)->tp_vectorcall = NULL;
        PyType_Modified((PyTypeObject *)receive_type);
        ((PyTypeObject *)receive_type)->tp_as_async->am_send = send;
        ((PyTypeObject *)receive_type)->tp_iternext = next;
    #if PY_VERSION_HEX >= 0x030C0000
        hb_receive_free = ((PyTypeObject *)receive_type)->tp_dealloc;
        ((PyTypeObject *)receive_type)->tp_dealloc = hb_receive_dealloc;
    #endif
        return 0;
    }

    /* `type.__new__` gives a class slots that look `__aiter__` and `__anext__` up by name, at each step of `async for`.
       This gives it those of its base, which is written in C, so that a step costs no more than the base's own. */
    static int hb_read_as(PyObject *kind, PyObject *base)
    {
        if (!PyType_Check(kind) || !PyType_IsSubtype((PyTypeObject *)kind, (PyTypeObject *)base)
                || !PyType_HasFeature((PyTypeObject *)kind, Py_TPFLAGS_HEAPTYPE)) {
            PyErr_Format(PyExc_TypeError, "%R is no class over %R", kind, base);
            return -1;
        }
        ((PyTypeObject *)kind)->tp_as_async->am_aiter = ((PyTypeObject *)base)->tp_as_async->am_aiter;
        ((PyTypeObject *)kind)->tp_as_async->am_anext = ((PyTypeObject *)base)->tp_as_async->am_anext;
        return 0;
    }
    """
    ctypedef PySendResult (*sendfunc)(PyObject *, PyObject *, PyObject **)
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    bint HB_IS_LAST_STEP(PyObject *) noexcept
    void hb_raise_stop(PyObject *, PyObject *) noexcept
    int hb_set_slots(PyObject *, sendfunc, iternextfunc) except -1
    int hb_read_as(PyObject *, PyObject *) except -1

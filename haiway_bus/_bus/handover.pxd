# The steps of a read, and the StopIteration that passes an event to the interpreter.
#
# CPython 3.11 steps an awaitable through the slot am_send, which returns the event directly. A Task uses am_send in
# every version. `await` in 3.12 to 3.14 calls tp_iternext instead, and takes the event out of a StopIteration. Making
# that exception each time would cost more than the rest of a delivery, so the same instance, `hb_spare`, serves again
# and again.
#
# To code that sees it pass, such as a debugger, it is a StopIteration like any other (guarantee 2.15). `await` drops
# the exception, and then the read. So the deallocation of the read takes the event out of the exception (guarantee
# 3.2). If other code holds the exception by then, that code keeps it, and a new instance serves from then on. The spare
# is not used while other code holds the read, as the read then does not end with this step.

from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT

cdef extern from *:
    """
    /* Whether a read ends with its current step: the caller has the only reference to it, and drops that.
       From 3.14 on, the caller may borrow the reference of a variable, so a count of 1 does not prove it. */
    #if PY_VERSION_HEX >= 0x030E0000
    #define HB_IS_LAST_STEP(receive) PyUnstable_Object_IsUniqueReferencedTemporary(receive)
    #else
    #define HB_IS_LAST_STEP(receive) (Py_REFCNT(receive) == 1)
    #endif

    #if PY_VERSION_HEX >= 0x030C0000
    static PyObject *hb_spare = NULL;  /* its value is None while it is not in use */
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
        /* Last, because freeing an event may run any code. */
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

    /* Raises a StopIteration with the event, and takes over the reference to the event. */
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

    /* Sets the slots of Receive, and makes it impossible to call the class. */
    static int hb_set_slots(PyObject *receive_type, sendfunc send, iternextfunc next)
    {
        /* Only subscriptions make reads: a read without a subscription has nothing to read. */
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

    /* `type.__new__` gives a class slots that look up `__aiter__` and `__anext__` by name, at each step of `async for`.
       This copies the C slots of the base instead, so that a step costs no more than a step of the base. */
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

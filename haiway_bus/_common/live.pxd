# The number of living objects of each compiled type, in a debug build (HAIWAY_BUS_DEBUG=1). Other builds pay nothing:
# `live_count` is empty there, and `live_objects` returns None.
#
# Each counted type gets a tp_alloc and a tp_free that count and then call the former ones. The count is exact only if
# every object passes through both, so a debug build has no free lists (CYTHON_USE_FREELISTS=0 in setup.py).
#
# The code is inline, so that each extension module counts its own types without importing another module.

from cpython.object cimport PyObject

cdef extern from *:
    """
    #ifdef HAIWAY_BUS_DEBUG
    #define HB_LIVE_TYPES 32
    static struct { PyTypeObject *type; allocfunc alloc; freefunc free; Py_ssize_t count; } hb_live[HB_LIVE_TYPES];

    static int hb_live_place(PyTypeObject *type)
    {
        int place = 0;
        while (hb_live[place].type != type)
            place++;
        return place;
    }

    static PyObject *hb_live_alloc(PyTypeObject *type, Py_ssize_t items)
    {
        int place = hb_live_place(type);
        PyObject *made = hb_live[place].alloc(type, items);
        if (made != NULL)
            hb_live[place].count++;
        return made;
    }

    static void hb_live_free(void *object)
    {
        int place = hb_live_place(Py_TYPE((PyObject *)object));
        hb_live[place].count--;
        hb_live[place].free(object);
    }

    static int hb_live_count(PyObject *counted)
    {
        PyTypeObject *type = (PyTypeObject *)counted;
        for (int place = 0; place < HB_LIVE_TYPES; place++) {
            if (hb_live[place].type == NULL) {
                Py_INCREF(type);  /* a second import of the package drops the classes that it made */
                hb_live[place].type = type;
                hb_live[place].alloc = type->tp_alloc;
                hb_live[place].free = type->tp_free;
                type->tp_alloc = hb_live_alloc;
                type->tp_free = hb_live_free;
                return 0;
            }
        }
        PyErr_SetString(PyExc_SystemError, "more types to count than HB_LIVE_TYPES");
        return -1;
    }

    static PyObject *hb_live_objects(void)
    {
        PyObject *found = PyDict_New();
        for (int place = 0; found != NULL && place < HB_LIVE_TYPES && hb_live[place].type != NULL; place++) {
            PyObject *number = PyLong_FromSsize_t(hb_live[place].count);
            if (number == NULL || PyDict_SetItem(found, (PyObject *)hb_live[place].type, number) < 0)
                Py_CLEAR(found);
            Py_XDECREF(number);
        }
        return found;
    }
    #else
    #define hb_live_count(counted) 0
    #define hb_live_objects() Py_NewRef(Py_None)
    #endif
    """
    int live_count "hb_live_count"(PyObject *) except -1
    object live_objects "hb_live_objects"()

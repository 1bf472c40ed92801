# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Makes instances of State classes in C: the twin of the `__new__` and `updated` that source.py writes in Python.

`OrderCreated(order_id=..., total=...)` calls a class. The interpreter does so through `type.__call__`, which packs the
arguments into a tuple and a dict for `__new__`. A class with a `tp_vectorcall` of its own gets the arguments where they
lie instead, provided that the metaclass has a flag, which only C code can set (below).

A construction has these steps: find the class's Maker by the class's address; take the arguments by the identity of
their names; compare the type of each argument with the types that its field accepts; allocate; store. Everything
unusual goes to the Python code that the written constructor calls, too: a value to be converted or refused, a default
factory, a name that is no field. So both constructors raise the same errors.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from haiway_bus._common.live cimport live_count, live_objects
from haiway_bus._common.type_index cimport Slot, TypeIndex, index_add, index_allot, index_remove, index_reserve, slot_of

from sys import intern

from haiway_bus._state.kinds.containers import SequenceKind
from haiway_bus._state.kinds.mismatch import Mismatch
from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.classes.source import refusal
from haiway_bus._state.classes.validate import validate_new

__all__ = ("equip", "release", "updated_of")


cdef extern from *:
    """
    #include <structmember.h>   /* PyMemberDef, up to 3.11 */

    typedef struct {
        PyObject *name;         /* interned, as the names of keyword arguments are */
        PyObject *initial;      /* the default, or NULL */
        Py_ssize_t offset;      /* of the slot in an instance */
        PyObject **exact;       /* the types whose instances are stored as they are; NULL ends the list */
        PyObject **items;       /* the same for the elements of a Sequence, or NULL */
        int anything;           /* any value is stored as it is */
        int any_item;           /* any tuple is stored as it is */
    } hb_field;

    #define HB_SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))
    #define HB_ALLOC(type) (((PyTypeObject *)(type))->tp_alloc((PyTypeObject *)(type), 0))
    #define HB_KEEP(type, function) (((PyTypeObject *)(type))->tp_vectorcall = (function))
    #define HB_MEMBER_OFFSET(member) (((PyMemberDescrObject *)(member))->d_member->offset)

    /* Sets the flag with which the interpreter asks a class for its tp_vectorcall. `type` has the flag, but a
       metaclass made by a class statement does not inherit it. */
    static void hb_let_classes_have_vectorcall(PyObject *metaclass)
    {
        PyTypeObject *type = (PyTypeObject *)metaclass;
        if (type->tp_flags & Py_TPFLAGS_HAVE_VECTORCALL)
            return;
        type->tp_vectorcall_offset = offsetof(PyTypeObject, tp_vectorcall);
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        PyType_Modified(type);
    }

    static int hb_accepts(PyObject *const *types, PyObject *value)
    {
        PyObject *type = (PyObject *)Py_TYPE(value);
        for (; *types != NULL; types++) {
            if (*types == type)
                return 1;
        }
        return 0;
    }

    /* Whether the value is stored as it is. All other values go to kind.check. */
    static int hb_fits(const hb_field *field, PyObject *value)
    {
        if (hb_accepts(field->exact, value))
            return 1;
        if ((field->items != NULL || field->any_item) && PyTuple_CheckExact(value)) {
            Py_ssize_t left = field->any_item ? 0 : PyTuple_GET_SIZE(value);
            while (left > 0 && hb_accepts(field->items, PyTuple_GET_ITEM(value, left - 1)))
                left--;
            return left == 0;
        }
        return field->anything;
    }

    /* The argument of this name, as a borrowed reference, or NULL. `next` is its index when the arguments come in the
       order of the fields, as they mostly do. */
    static PyObject *hb_argument(PyObject *const *args, PyObject *names, Py_ssize_t count, PyObject *name,
                                 Py_ssize_t *next)
    {
        if (*next < count && PyTuple_GET_ITEM(names, *next) == name)
            return args[(*next)++];
        for (Py_ssize_t i = 0; i < count; i++) {
            if (PyTuple_GET_ITEM(names, i) == name)
                return (*next)++, args[i];
        }
        for (Py_ssize_t i = 0; i < count; i++) {    /* a name that was built at run time is not interned */
            if (PyUnicode_Compare(PyTuple_GET_ITEM(names, i), name) == 0)
                return (*next)++, args[i];
        }
        return NULL;
    }
    """
    ctypedef struct hb_field:
        PyObject *name
        PyObject *initial
        Py_ssize_t offset
        PyObject **exact
        PyObject **items
        int anything
        int any_item
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject *const *, size_t, PyObject *)
    PyObject *HB_SLOT(PyObject *, Py_ssize_t) noexcept
    PyObject *HB_ALLOC(PyObject *) except NULL
    void HB_KEEP(PyObject *, vectorcallfunc) noexcept
    Py_ssize_t HB_MEMBER_OFFSET(PyObject *) noexcept
    void hb_let_classes_have_vectorcall(PyObject *) noexcept
    int hb_fits(const hb_field *, PyObject *) noexcept
    PyObject *hb_argument(PyObject *const *, PyObject *, Py_ssize_t, PyObject *, Py_ssize_t *) noexcept

cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *) noexcept
    PyTypeObject *Py_TYPE(PyObject *) noexcept


cdef PyObject *NO_VALUE = <PyObject *>MISSING

cdef TypeIndex makers           # from State classes to their Makers. A Maker removes itself when it is freed.
index_allot(&makers, 64)


@cython.final
cdef class Maker:
    """Makes the instances of one class. It has the fields of the class, laid out for C.

    Invariants: `owner` is a borrowed reference to the class, whose Blueprint keeps the Maker. `fields` or `held` keeps
    alive each object that `table` points to.
    """

    cdef PyObject *owner
    cdef tuple fields           # of Field, in order
    cdef list held
    cdef hb_field *table
    cdef Py_ssize_t count
    cdef bint validates         # whether the class has a `__validate__`

    def __cinit__(self, object owner, tuple fields):
        cdef hb_field *row
        self.fields = fields
        self.held = []
        self.validates = owner.__state__.validate is not None
        self.count = len(fields)
        self.table = <hb_field *>PyMem_Calloc(self.count + 1, sizeof(hb_field))
        if self.table == NULL:
            raise MemoryError
        for index, field in enumerate(fields):
            kind = field.kind
            row = &self.table[index]
            row.name = self.keep(intern(field.name))
            row.offset = HB_MEMBER_OFFSET(<PyObject *>field.member)
            row.anything = kind.anything
            row.exact = self.types(kind.exact)
            if field.default is not MISSING:
                row.initial = self.keep(field.default)
            if isinstance(kind, SequenceKind):
                row.any_item = kind.item.anything
                if kind.item.exact:
                    row.items = self.types(kind.item.exact)
        index_reserve(&makers, makers.used + 1)
        self.owner = <PyObject *>owner
        index_add(&makers, self.owner, <PyObject *>self)

    def __dealloc__(self):
        cdef Py_ssize_t index
        if self.owner != NULL:
            index_remove(&makers, self.owner)
        if self.table != NULL:
            for index in range(self.count):
                PyMem_Free(self.table[index].exact)
                PyMem_Free(self.table[index].items)
            PyMem_Free(self.table)

    cdef PyObject *keep(self, object value) except NULL:
        self.held.append(value)
        return <PyObject *>value

    cdef PyObject **types(self, tuple types) except NULL:
        cdef PyObject **found = <PyObject **>PyMem_Calloc(len(types) + 1, sizeof(PyObject *))
        if found == NULL:
            raise MemoryError
        for index, accepted in enumerate(types):
            found[index] = self.keep(accepted)
        return found

    cdef PyObject *make(self, PyObject *const *args, Py_ssize_t positional, PyObject *names, PyObject *old) except NULL:
        """Make an instance. A field without an argument takes its value from `old`, or from its default."""
        cdef Py_ssize_t count = 0 if names == NULL else PyTuple_GET_SIZE(names)
        cdef Py_ssize_t given = 0
        cdef Py_ssize_t index
        cdef hb_field *field
        cdef PyObject *value
        cdef PyObject *instance
        if positional != 0:
            self.refuse(args, positional, names, count, old)
        instance = HB_ALLOC(self.owner)
        try:
            for index in range(self.count):
                field = &self.table[index]
                value = hb_argument(args, names, count, field.name, &given) if given < count else NULL
                if value == NULL or value == NO_VALUE:
                    if old != NULL:
                        value = HB_SLOT(old, field.offset)
                    else:
                        value = field.initial
                    if value == NULL:
                        value = self.absent(index)  # a new reference
                    else:
                        Py_INCREF(<object>value)
                elif hb_fits(field, value):
                    Py_INCREF(<object>value)
                else:
                    value = self.checked(index, value)
                store(instance, field.offset, value)
            if given < count:
                raise Mismatch  # a name that is no field
            if self.validates:
                validate_new(<object>instance)  # raises no Mismatch
        except Mismatch:
            Py_DECREF(<object>instance)
            self.refuse(args, positional, names, count, old)
        except BaseException:
            Py_DECREF(<object>instance)
            raise
        return instance

    cdef PyObject *absent(self, Py_ssize_t index) except NULL:
        field = self.fields[index]
        if field.factory is None:
            raise Mismatch
        return new_reference(field.made(field.factory))

    cdef PyObject *checked(self, Py_ssize_t index, PyObject *value) except NULL:
        return new_reference(self.fields[index].kind.check(<object>value))

    cdef int refuse(
        self, PyObject *const *args, Py_ssize_t positional, PyObject *names, Py_ssize_t count, PyObject *old
    ) except -1:
        """Go over the arguments again in Python, and raise the error that lists what is wrong with them."""
        cdef dict given = {}
        cdef Py_ssize_t index
        if old != NULL:
            for field in self.fields:
                given[field.name] = getattr(<object>old, field.name)
        known = {field.name for field in self.fields}
        unknown = {}
        for index in range(count):
            name = (<tuple>names)[index]
            value = <object>args[positional + index]
            if name not in known:
                unknown[name] = value
            elif value is not MISSING:
                given[name] = value
        by_position = tuple([<object>args[index] for index in range(positional)])
        raise refusal(<object>self.owner, self.fields, by_position, unknown, given) from None


cdef inline void store(PyObject *instance, Py_ssize_t offset, PyObject *value) noexcept:
    (<PyObject **>(<char *>instance + offset))[0] = value


cdef inline PyObject *new_reference(object value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef Maker maker_of(PyObject *cls):
    cdef Slot *slot = slot_of(&makers, cls)
    if slot.type == NULL:
        raise TypeError(f"{(<object>cls).__name__} is being taken apart by the garbage collector: it makes nothing now")
    return <Maker>slot.value


cdef PyObject *construct(PyObject *cls, PyObject *const *args, size_t nargsf, PyObject *names) except NULL:
    return maker_of(cls).make(args, PyVectorcall_NARGS(nargsf), names, NULL)


cdef PyObject *update(PyObject *self, PyObject *const *args, Py_ssize_t positional, PyObject *names) except NULL:
    return maker_of(<PyObject *>Py_TYPE(self)).make(args, positional, names, self)


cdef extern from *:
    """
    static PyMethodDef hb_updated = {
        "updated", NULL, METH_FASTCALL | METH_KEYWORDS,
        "updated($self, /, **changes)\\n--\\n\\nMake a new instance with some fields changed and checked."
    };

    static PyObject *hb_updated_method(PyObject *type, void *function)
    {
        hb_updated.ml_meth = (PyCFunction)(void (*)(void))function;
        return PyDescr_NewMethod((PyTypeObject *)type, &hb_updated);
    }
    """
    object hb_updated_method(PyObject *, void *)


def equip(object owner, tuple fields):
    """Let C make the instances of the class. Returns the Maker, which the class has to keep."""
    maker = Maker(owner, fields)
    hb_let_classes_have_vectorcall(<PyObject *>Py_TYPE(<PyObject *>owner))
    HB_KEEP(<PyObject *>owner, <vectorcallfunc>construct)
    return maker


def release(object owner):
    """Let the class's `__new__` make the instances from now on, for somebody has replaced it (`@deprecated` does)."""
    HB_KEEP(<PyObject *>owner, NULL)


def updated_of(object owner):
    """Make the method `updated` for a class that `equip` was called for."""
    return hb_updated_method(<PyObject *>owner, <void *>update)


live_count(<PyObject *>Maker)  # before the first is made (see live.pxd)


def _live():
    """The number of Makers that are alive in a debug build, or None in any other build."""
    return live_objects()

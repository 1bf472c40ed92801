# cython: language_level=3, binding=False
"""Converts the instances of State classes to plain data and back in C: the twin of what wire_source.py writes.

A load looks up each key in the dict, converts the value by the field's step, and stores it in the slot of a new
instance. A dump reads the slots. Problems are collected on the way, as in the written functions, by the same functions
of steps.py. So both give the same values and raise the same errors.
"""

cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from haiway_bus._common.live cimport live_count, live_objects

from sys import intern

from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.classes.steps import (
    absent, dump_step, gathered, load_step, lost, not_a_dict, unknown_keys, with_unknown,
)
from haiway_bus._state.classes.validate import validated
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch

__all__ = ("Wired",)

cdef extern from *:
    """
    #include <structmember.h>   /* PyMemberDef, up to 3.11 */

    /* The nesting in this thread. Python counts calls in C up to 10,000 from 3.12 on, which is more than the stack
       has room for. */
    #ifdef _MSC_VER
    static __declspec(thread) int hb_depth = 0;
    #else
    static __thread int hb_depth = 0;
    #endif

    static int hb_enter(void) {
        if (hb_depth >= 1000) {
            PyErr_SetString(PyExc_RecursionError, "a State is nested in more than 1,000 others");
            return -1;
        }
        if (Py_EnterRecursiveCall(" while a State is converted"))
            return -1;  /* It returns 1. */
        hb_depth++;
        return 0;
    }

    static void hb_leave(void) {
        hb_depth--;
        Py_LeaveRecursiveCall();
    }

    #define HB_ALLOC(type) (((PyTypeObject *)(type))->tp_alloc((PyTypeObject *)(type), 0))
    #define HB_SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))
    #define HB_STORE(object, offset, value) (HB_SLOT(object, offset) = (value))
    #define HB_MEMBER_OFFSET(member) (((PyMemberDescrObject *)(member))->d_member->offset)
    """
    int hb_enter() except -1
    void hb_leave() noexcept
    object HB_ALLOC(object)
    PyObject *HB_SLOT(object, Py_ssize_t) noexcept
    void HB_STORE(object, Py_ssize_t, PyObject *) noexcept
    Py_ssize_t HB_MEMBER_OFFSET(object) noexcept

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    double PyFloat_AS_DOUBLE(object) noexcept

cdef extern from "math.h":
    bint isfinite(double) noexcept

cdef enum:  # the codes of steps.py
    SAME = 0
    FLOAT = 1
    TABLE = 2
    STATE = 3
    SEQUENCE = 4
    UNION = 5

cdef object NO_VALUE = MISSING
cdef Py_ssize_t MOST = LIMIT


@cython.final
cdef class Conversion:
    """One Step of steps.py, laid out for C.

    wired: what converts a nested class, once that class converts plain data.
    """

    cdef int code
    cdef bint none
    cdef bint anything
    cdef object kind
    cdef object only            # the exact type of SAME, where it has a single one
    cdef tuple exact
    cdef dict texts
    cdef Conversion item
    cdef Wired wired

    def __cinit__(self, step):
        self.code = step.code
        self.none = step.none
        self.kind = step.kind
        self.anything = step.exact is None
        self.exact = step.exact or ()
        self.only = self.exact[0] if len(self.exact) == 1 else None
        self.texts = step.texts
        self.item = None if step.item is None else Conversion(step.item)

    cdef inline bint keeps(self, object value):
        return self.anything or <object>type(value) is self.only or (self.only is None and type(value) in self.exact)

    cdef object load(self, object plain):
        cdef PyObject *found
        if self.none and plain is None:
            return None
        if self.code == SAME:
            if self.keeps(plain):
                return plain
        elif self.code == FLOAT:
            if type(plain) is float and isfinite(PyFloat_AS_DOUBLE(plain)):
                return plain
        elif self.code == TABLE:
            if type(plain) is str:
                found = PyDict_GetItemWithError(self.texts, plain)
                if found != NULL:
                    return <object>found
        elif self.code == STATE:
            if self.wired is None:
                self.wired = wired_of(self.kind)
            return load_by(self.wired, self.kind, plain)
        elif self.code == SEQUENCE:
            if type(plain) is list:
                return tuple(self.load_items(<list>plain))
        elif self.code == UNION:
            chosen = self.kind.choose(plain)
            return load_by(wired_of(chosen), chosen, plain)
        return self.kind.load(plain)

    cdef list load_items(self, list plain):
        cdef Conversion item = self.item
        cdef list loaded = []
        cdef list problems = None
        for value in plain:
            try:
                loaded.append(item.load(value))
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(f"[{len(loaded)}]")
                if len(problems) > MOST:
                    break
                loaded.append(None)
        if problems is not None:
            raise Mismatch(problems)
        return loaded

    cdef object dump(self, object value):
        cdef double number
        if self.none and value is None:
            return None
        if self.code == SAME:
            if self.keeps(value):
                return value
        elif self.code == FLOAT:
            if type(value) is float:
                number = PyFloat_AS_DOUBLE(value)
                if 1e-4 <= number < 1e16 or number == 0 or -1e16 < number <= -1e-4:  # as `ordinary` in scalars.py
                    return value
        elif self.code == STATE:
            if self.wired is None:
                self.wired = wired_of(self.kind)
            return dump_by(self.wired, self.kind, value)
        elif self.code == SEQUENCE:
            if type(value) is tuple:
                return self.dump_items(<tuple>value)
        elif self.code == UNION:
            chosen = self.kind.writer(value)
            return dump_by(wired_of(chosen), chosen, value)
        return self.kind.dump(value)

    cdef list dump_items(self, tuple values):
        cdef Conversion item = self.item
        cdef list dumped = []
        cdef list problems = None
        for value in values:
            try:
                dumped.append(item.dump(value))
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(f"[{len(dumped)}]")
                if len(problems) > MOST:
                    break
                dumped.append(None)
        if problems is not None:
            raise Mismatch(problems)
        return dumped


cdef Wired wired_of(object wire):
    """What converts the instances in C, or None: for a Kind, and for a class that has not converted plain data yet."""
    return getattr(wire, "wired", None)


cdef object load_by(Wired wired, object wire, object plain):
    """Load a nested instance. Called in C, each level of nesting counts once against Python's limit."""
    if wired is None:
        return wire.load(plain)
    hb_enter()
    try:
        return wired.load_plain(plain)
    finally:
        hb_leave()


cdef object dump_by(Wired wired, object wire, object value):
    """Dump a nested instance, as `load_by` loads it."""
    if wired is None:
        return wire.dump(value)
    hb_enter()
    try:
        return wired.dump_plain(value)
    finally:
        hb_leave()


@cython.final
cdef class Place:
    """One field: its key in plain data, its slot in an instance, and how values get from one to the other."""

    cdef str key
    cdef Py_ssize_t offset
    cdef object field
    cdef object default
    cdef bint omitted           # the plain form is without it when it has its default
    cdef Conversion loading
    cdef Conversion dumping

    def __cinit__(self, blueprint, field):
        self.key = intern(field.key)
        self.offset = HB_MEMBER_OFFSET(field.member)
        self.field = field
        self.default = field.default
        self.omitted = blueprint.omitted(field)
        self.loading = Conversion(load_step(field.kind))
        self.dumping = Conversion(dump_step(field.kind))

    cdef object absent(self):
        """Give the default of a key that is not there, or MISSING."""
        if self.field.factory is not None:
            return self.field.made(self.field.factory)
        return self.default

    cdef bint is_default(self, object value) except -1:
        if value is self.default:
            return True
        return type(value) is type(self.default) and value == self.default


@cython.final
cdef class Wired:
    """Converts the instances of one class.

    Invariants: an instance that `load_plain` returns has a value in each slot. One that it gives up has not, and
    nobody has seen it.
    """

    cdef object owner
    cdef object blueprint
    cdef list places
    cdef object hidden          # the field `__unknown__`, or None
    cdef bint validates         # whether the class has a `__validate__`

    def __cinit__(self, blueprint):
        self.owner = blueprint.owner
        self.blueprint = blueprint
        self.places = [Place(blueprint, field) for field in blueprint.plain_fields]
        self.validates = blueprint.validate is not None
        self.hidden = blueprint.fields[-1] if blueprint.unknown == "keep" else None

    def load(self, plain, /):
        """Give the instance of a plain form. Raises Mismatch."""
        return self.load_plain(plain)

    def dump(self, instance, /):
        """Give the plain form of an instance. Raises Mismatch."""
        return self.dump_plain(instance)

    cdef object load_plain(self, object plain):
        cdef Place place
        cdef PyObject *found
        cdef Py_ssize_t count = 0
        cdef list problems = None
        if type(plain) is not dict:
            return not_a_dict(self.blueprint, plain)
        instance = HB_ALLOC(self.owner)
        for place in self.places:
            found = PyDict_GetItemWithError(plain, place.key)
            try:
                if found != NULL:
                    count += 1
                if found != NULL and found != <PyObject *>NO_VALUE:
                    value = place.loading.load(<object>found)
                else:
                    value = place.absent()
                    if value is NO_VALUE:
                        problems = absent(problems, place.field)
                        continue
            except Mismatch as wrong:
                problems = gathered(problems, place.field, wrong)
                continue
            Py_INCREF(value)
            HB_STORE(instance, place.offset, <PyObject *>value)
        kept = None if self.hidden is None else self.hidden.default
        if count != len(<dict>plain):
            problems, kept = unknown_keys(problems, self.blueprint, plain)
        if problems is not None:
            raise Mismatch(problems)
        if self.hidden is not None:
            Py_INCREF(kept)
            HB_STORE(instance, HB_MEMBER_OFFSET(self.hidden.member), <PyObject *>kept)
        if self.validates:
            validated(self.blueprint, instance)
        return instance

    cdef object dump_plain(self, object instance):
        cdef Place place
        cdef list problems = None
        cdef dict plain
        if <object>type(instance) is not self.owner:
            raise lost(instance)
        plain = {}
        for place in self.places:
            value = <object>HB_SLOT(instance, place.offset)
            if place.omitted and place.is_default(value):
                continue
            try:
                plain[place.key] = place.dumping.dump(value)
            except Mismatch as wrong:
                problems = gathered(problems, place.field, wrong)
        if problems is not None:
            raise Mismatch(problems)
        if self.hidden is not None:
            return with_unknown(plain, getattr(instance, self.hidden.name), self.hidden)
        return plain


live_count(<PyObject *>Wired)  # before the first is made (see live.pxd)


def _live():
    """The number of Wireds that are alive in a debug build, or None in any other build."""
    return live_objects()

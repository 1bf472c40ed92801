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
from haiway_bus._common.type_index cimport Slot, TypeIndex, index_add, index_allot, index_remove, index_reserve, slot_of
from haiway_bus._state.classes.quick_texts cimport (
    HB_ALLOC, HB_MEMBER_OFFSET, HB_SLOT, HB_STORE, PyLong_AsUnsignedLongLongMask, hb_is_day, hb_is_decimal,
    hb_is_moment, hb_iso_text, hb_uuid_bits, hb_uuid_text,
)

from sys import intern, modules

from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.classes.steps import (
    absent, dump_step, gathered, load_step, lost, not_a_dict, unknown_keys, with_unknown,
)
from haiway_bus._state.classes.validate import validated
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.mismatch import DEEP, LIMIT, Mismatch, part_of, state_error
from haiway_bus._state.kinds.scalars import EXPONENT
from haiway_bus._state.kinds.stdlib import TextKind, standard_kind
from haiway_bus._state.wire.json_text import LIBRARY
from haiway_bus._state.wire.twins import decoder_of, struct_of

__all__ = ("Wired", "quick_methods")

cdef extern from *:
    """
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
    """
    int hb_enter() except -1
    void hb_leave() noexcept

cdef extern from "Python.h":
    PyTypeObject *Py_TYPE(object) noexcept
    PyObject *PyDict_GetItemWithError(object, object) except? NULL
    int PyDict_Update(object, object) except -1
    object PyObject_Vectorcall(object, PyObject **, size_t, PyObject *)
    object PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *)
    double PyFloat_AS_DOUBLE(object) noexcept

cdef extern from "math.h":
    bint isfinite(double) noexcept

cdef enum:  # the codes of steps.py
    SAME = 0
    FLOAT = 1
    TABLE = 2
    STATE = 3
    SEQUENCE = 4
    MAPPING = 5
    UNION = 6
    CALL = 7
    # Kinds of CALL whose common values are converted here.
    UUID = 8
    MOMENT = 9
    DAY = 10
    DECIMAL = 11

TEXTS = {
    ("uuid", "UUID"): UUID, ("datetime", "datetime"): MOMENT, ("datetime", "date"): DAY,
    ("decimal", "Decimal"): DECIMAL,
}
"""The codes by the module and the name of the class."""


cdef TypeIndex wireds           # from State classes to their Wireds. A Wired removes itself when it is freed.
index_allot(&wireds, 16)
cdef Py_ssize_t MOST = LIMIT

cdef enum:                      # the ways of a conversion
    LOAD = 0
    DUMP = 1
    TEXT = 2                    # for a text of msgspec: Structs stand in place of dicts, and some values as they are

cdef enum:
    MOST_FIELDS = 40            # an instance with more is dumped to a dict


@cython.final
cdef class Conversion:
    """One Step of steps.py, laid out for C.

    wired: what converts a nested class, once that class converts plain data.
    """

    cdef int code
    cdef bint none
    cdef bint anything
    cdef object kind
    cdef PyObject *only         # the exact type of SAME, where it has a single one; `exact` holds it
    cdef tuple exact
    cdef dict texts
    cdef Conversion item
    cdef Wired wired
    cdef object tests           # a ConstrainedKind, whose predicates what is loaded has to satisfy, or None
    cdef object owner           # the class of UUID, MOMENT, DAY and DECIMAL
    cdef object parse
    cdef object safety          # `is_safe` of a UUID
    cdef object utc             # `timezone.utc`
    cdef Py_ssize_t int_offset
    cdef Py_ssize_t safe_offset

    def __cinit__(self, step):
        self.code = step.code
        self.tests = step.tests
        owner = getattr(step.kind, "owner", None)
        if self.code == CALL and type(step.kind) is TextKind and step.kind.pattern == standard_kind(owner).pattern:
            self.code = TEXTS.get((owner.__module__, owner.__name__), CALL)
            self.owner = owner
            # The kind's own reads offsets of less than a second, too, which the common forms have not.
            self.parse = getattr(owner, "fromisoformat", owner)
            if self.code == MOMENT:
                self.utc = modules["datetime"].timezone.utc
            if self.code == UUID:
                self.int_offset = HB_MEMBER_OFFSET(owner.__dict__["int"])
                self.safe_offset = HB_MEMBER_OFFSET(owner.__dict__["is_safe"])
                self.safety = modules["uuid"].SafeUUID.unknown
        self.none = step.none
        self.kind = step.kind
        self.anything = step.exact is None
        self.exact = step.exact or ()
        if self.code == SAME and self.tests is None and len(self.exact) == 1:
            self.only = <PyObject *>self.exact[0]
        self.texts = step.texts
        self.item = None if step.item is None else Conversion(step.item)

    cdef inline bint stays(self, object plain) noexcept:
        """Whether the value stays as it is, for the most common steps. A false no costs time only."""
        return <PyObject *>Py_TYPE(plain) == self.only

    cdef bint keeps(self, object value) except -1:
        return self.anything or self.stays(value) or type(value) in self.exact

    cdef object convert(self, object value, int way):
        if self.none and value is None:
            return None
        if self.tests is None:
            return self.convert_untested(value, way)
        return self.tests.satisfied(self.convert_untested(value, way))

    cdef object convert_untested(self, object value, int way):
        cdef double number
        cdef PyObject *found
        if self.code == SAME:
            # msgspec refuses what is no plain data, such as a text of a derived class.
            if way == TEXT or self.keeps(value):
                return value
        elif self.code == FLOAT:
            if type(value) is float:
                number = PyFloat_AS_DOUBLE(value)
                # When it is written: as `ordinary` in scalars.py.
                if isfinite(number) and (
                    way == LOAD or 1e-4 <= number < 1e16 or number == 0 or -1e16 < number <= -1e-4
                ):
                    return value
        elif self.code == TABLE:
            text = value if way == LOAD or type(value) is str else getattr(value, "_value_", None)
            if type(text) is str:
                found = PyDict_GetItemWithError(self.texts, text)
                if found != NULL and way == LOAD:
                    return <object>found
                if found == <PyObject *>value or (found != NULL and text is value and type(<object>found) is str):
                    return text
        elif self.code == STATE:
            if self.wired is None:
                self.wired = wired_of(self.kind)
            return nested(self.wired, self.kind, value, way)
        elif self.code == SEQUENCE:
            if type(value) is (list if way == LOAD else tuple):
                return value if way == TEXT and self.item.code == SAME else self.convert_items(value, way)
        elif self.code == MAPPING:
            if type(value) is (dict if way == LOAD else FrozenMap):
                return value if way == TEXT and self.item.code == SAME else self.convert_entries(<dict>value, way)
        elif self.code == UNION:
            chosen = self.kind.choose(value) if way == LOAD else self.kind.writer(value)
            return nested(wired_of(chosen), chosen, value, way)
        elif self.code >= UUID:
            if way == TEXT and self.code == UUID and <object>type(value) is self.owner:
                return value  # msgspec writes it in the same form
            converted = self.load_text(value) if way == LOAD else self.dump_text(value)
            if converted is not None:
                return converted
        return self.kind.load(value) if way == LOAD else self.kind.dump(value)

    cdef object convert_items(self, object values, int way):
        cdef Conversion item = self.item
        cdef list converted = []
        cdef list problems = None
        for value in values:
            try:
                converted.append(item.convert(value, way))
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(f"[{len(converted)}]")
                if len(problems) > MOST:
                    break
                converted.append(None)
        if problems is not None:
            raise Mismatch(problems)
        return tuple(converted) if way == LOAD else converted

    cdef object convert_entries(self, dict values, int way):
        cdef Conversion item = self.item
        cdef dict converted = {}
        cdef list problems = None
        for key, value in values.items():
            if type(key) is not str:
                return self.kind.load(values) if way == LOAD else self.kind.dump(values)
            try:
                converted[key] = item.convert(value, way)
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(part_of(key))
                if len(problems) > MOST:
                    break
        if problems is not None:
            raise Mismatch(problems)
        if way != LOAD:
            return converted
        frozen = dict.__new__(FrozenMap)
        PyDict_Update(frozen, converted)
        return frozen

    cdef object load_text(self, object text):
        """Give the value of a text of the common form, or None."""
        cdef unsigned long long bits[2]
        if self.code == UUID:
            bits[0] = bits[1] = 0
            if not hb_uuid_bits(text, bits):
                return None
            value = HB_ALLOC(self.owner)
            store(value, self.int_offset, (<object>bits[0] << 64) | bits[1])
            store(value, self.safe_offset, self.safety)
            return value
        if (
            hb_is_moment(text) if self.code == MOMENT else hb_is_day(text) if self.code == DAY else hb_is_decimal(text)
        ):
            try:
                return self.parse(text)
            except (ValueError, ArithmeticError):
                pass  # there is no such day or time
        return None

    cdef object dump_text(self, object value):
        """Give the text of a value, or None where the kind has to write it."""
        cdef int minutes = 0
        cdef unsigned long long bits[2]
        if <object>type(value) is not self.owner:
            return None
        if self.code == UUID:
            if HB_SLOT(value, self.int_offset) == NULL:
                return None  # `object.__new__` made it
            number = <object>HB_SLOT(value, self.int_offset)
            bits[0] = PyLong_AsUnsignedLongLongMask(number >> 64)
            bits[1] = PyLong_AsUnsignedLongLongMask(number)
            return hb_uuid_text(bits)
        if self.code == DECIMAL:
            text = str(value)
            return text if hb_is_decimal(text) else None
        if self.code == MOMENT:
            zone = value.tzinfo
            if zone is not None and zone is not self.utc:
                offset = value.utcoffset()
                if offset is None or offset.seconds % 60 or offset.microseconds:
                    return value.isoformat()
                minutes = offset.days * 1440 + offset.seconds // 60
        return hb_iso_text(value, self.code == MOMENT, minutes)


cdef inline void store(object instance, Py_ssize_t offset, object value) noexcept:
    Py_INCREF(value)
    HB_STORE(instance, offset, <PyObject *>value)


cdef Wired wired_of(object wire):
    """What converts the instances in C, or None: for a Kind, and for a class that has not converted plain data yet."""
    return getattr(wire, "wired", None)


cdef object nested(Wired wired, object wire, object value, int way):
    """Convert a nested instance. Called in C, each level of nesting counts once against Python's limit."""
    if wired is None:
        return wire.load(value) if way == LOAD else wire.dump(value)
    hb_enter()
    try:
        return wired.load_plain(value) if way == LOAD else wired.dump_plain(value, way)
    finally:
        hb_leave()


@cython.final
cdef class Place:
    """One field: its key in plain data, its slot in an instance, and how values get from one to the other."""

    cdef str key
    cdef Py_ssize_t offset
    cdef Py_ssize_t struct_offset   # in the Struct
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

    cdef inline object value(self, object instance):
        cdef PyObject *found = HB_SLOT(instance, self.offset)
        if found == NULL:  # of `object.__new__`, or of a deepcopy that has not come this far
            return getattr(instance, self.field.name)  # raises AttributeError
        return <object>found

    cdef bint has_default(self, object value) except -1:
        return value is self.default or (type(value) is type(self.default) and value == self.default)


@cython.final
cdef class Wired:
    """Converts the instances of one class.

    Invariants: an instance that `load_plain` returns has a value in each slot. One that it gives up has not, and
    nobody has seen it.
    """

    cdef PyObject *address      # of the class; not held, for the collector may take `owner` first
    cdef object owner
    cdef object blueprint
    cdef list places
    cdef object hidden          # the field `__unknown__`, or None
    cdef object struct          # what stands in place of dicts where msgspec reads and writes, or None
    cdef object decode          # reads a text as a Struct, or None
    cdef bint validates         # whether the class has a `__validate__`

    def __cinit__(self, blueprint):
        self.owner = blueprint.owner
        self.blueprint = blueprint
        self.places = [Place(blueprint, field) for field in blueprint.plain_fields]
        self.validates = blueprint.validate is not None
        self.hidden = blueprint.fields[-1] if blueprint.unknown == "keep" else None
        self.struct = struct_of(blueprint)
        if self.struct is not None:
            self.decode = decoder_of(self.struct)
            for index, place in enumerate(self.places):
                (<Place>place).struct_offset = HB_MEMBER_OFFSET(getattr(self.struct, f"f{index}"))
        index_reserve(&wireds, wireds.used + 1)
        if slot_of(&wireds, <PyObject *>self.owner).type == NULL:
            self.address = <PyObject *>self.owner
            index_add(&wireds, self.address, <PyObject *>self)

    def __dealloc__(self):
        if self.address != NULL:
            index_remove(&wireds, self.address)

    def load(self, plain, /):
        """Give the instance of a plain form. Raises Mismatch."""
        return self.load_plain(plain)

    def dump(self, instance, /):
        """Give the plain form of an instance. Raises Mismatch."""
        return self.dump_plain(instance, DUMP)

    cdef object load_plain(self, object plain):
        cdef Place place
        cdef PyObject *found
        cdef Py_ssize_t count = 0
        cdef list problems = None
        cdef bint from_struct = self.struct is not None and <object>type(plain) is self.struct
        if not from_struct and type(plain) is not dict:
            return not_a_dict(self.blueprint, plain)
        instance = HB_ALLOC(self.owner)
        for place in self.places:
            if from_struct:
                found = HB_SLOT(plain, place.struct_offset)
            else:
                found = PyDict_GetItemWithError(plain, place.key)
            if found != NULL and place.loading.stays(<object>found):
                count += 1
                store(instance, place.offset, <object>found)
                continue
            try:
                if found != NULL:
                    count += 1
                if found != NULL and <object>found is not MISSING:
                    value = <object>found  # held: what the author wrote may run now, and change the dict
                    value = place.loading.convert(value, LOAD)
                elif place.field.factory is not None:
                    value = place.field.made(place.field.factory)
                elif place.default is MISSING:
                    problems = absent(problems, place.field)
                    continue
                else:
                    value = place.default
            except Mismatch as wrong:
                problems = gathered(problems, place.field, wrong)
                continue
            store(instance, place.offset, value)
        kept = None if self.hidden is None else self.hidden.default
        if not from_struct and count != len(<dict>plain):
            problems, kept = unknown_keys(problems, self.blueprint, plain)
        if problems is not None:
            raise Mismatch(problems)
        if self.hidden is not None:
            store(instance, HB_MEMBER_OFFSET(self.hidden.member), kept)
        if self.validates:
            validated(self.blueprint, instance)
        return instance

    cdef object dump_plain(self, object instance, int way):
        """Give the plain form, or what msgspec writes as its text."""
        cdef Place place
        cdef list problems = None
        cdef dict plain
        if <object>type(instance) is not self.owner:
            raise lost(instance)
        if way == TEXT and self.struct is not None and len(self.places) <= MOST_FIELDS:
            return self.dump_struct(instance)
        plain = {}
        for place in self.places:
            value = place.value(instance)
            if place.omitted and place.has_default(value):
                continue
            if place.dumping.stays(value):
                plain[place.key] = value
                continue
            try:
                plain[place.key] = place.dumping.convert(value, way)
            except Mismatch as wrong:
                problems = gathered(problems, place.field, wrong)
        if problems is not None:
            raise Mismatch(problems)
        if self.hidden is not None:
            return with_unknown(plain, getattr(instance, self.hidden.name), self.hidden)
        return plain

    cdef object dump_struct(self, object instance):
        cdef Place place
        cdef PyObject *values[MOST_FIELDS]
        cdef Py_ssize_t index
        cdef Py_ssize_t count = 0
        try:
            for place in self.places:
                value = place.value(instance)
                if place.dumping.code != SAME:
                    value = place.dumping.convert(value, TEXT)
                Py_INCREF(value)
                values[count] = <PyObject *>value
                count += 1
            return PyObject_Vectorcall(self.struct, values, count, NULL)
        finally:
            for index in range(count):
                Py_DECREF(<object>values[index])


cdef dict slow = {}             # the methods in Python, by name


cdef Wired wired_at(PyObject *cls):
    cdef Slot *slot = slot_of(&wireds, cls)
    return None if slot.type == NULL else <Wired>slot.value


cdef PyObject *from_json(PyObject *cls, PyObject *text) except NULL:
    cdef Wired wired = wired_at(cls)
    plain = None
    if wired is not None:
        try:
            plain = (wired.decode or (<list>LIBRARY)[1])(<object>text)
        except Exception:
            pass
    if plain is None or (type(plain) is not dict and <object>type(plain) is not wired.struct):
        return new_reference(slow["from_json"](<object>cls, <object>text))
    try:
        return new_reference(wired.load_plain(plain))
    except Mismatch as wrong:
        problems = wrong.problems
    except RecursionError:
        problems = [("", DEEP)]
    raise state_error(wired.owner.__name__, problems)


cdef object written(str name, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names):
    """The JSON text of an instance in bytes. The method in Python gives what is unusual, or tells what is wrong."""
    cdef Py_ssize_t index
    cdef Wired wired = wired_at(<PyObject *>Py_TYPE(<object>self))
    if wired is not None and count == 0 and names == NULL:
        exponent = EXPONENT[0]
        try:
            text = (<list>LIBRARY)[0](wired.dump_plain(<object>self, DUMP if wired.struct is None else TEXT))
            if (<list>EXPONENT)[0] is exponent:
                return text
        except Exception:
            pass
    given = [<object>args[index] for index in range(count)]
    named = {}
    if names != NULL:
        named = {key: <object>args[count + index] for index, key in enumerate(<tuple><object>names)}
    return slow[name](<object>self, *given, **named)


cdef PyObject *to_json_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) except NULL:
    return new_reference(written("to_json_bytes", self, args, count, names))


cdef PyObject *to_json(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) except NULL:
    text = written("to_json", self, args, count, names)
    if type(text) is bytes:
        text = PyUnicode_DecodeUTF8(text, len(<bytes>text), NULL)
    return new_reference(text)


cdef PyObject *to_mapping(PyObject *self, PyObject *nothing) except NULL:
    cdef Wired wired = wired_at(<PyObject *>Py_TYPE(<object>self))
    if wired is not None:
        try:
            return new_reference(wired.dump_plain(<object>self, DUMP))
        except (Mismatch, RecursionError):
            pass
    return new_reference(slow["to_mapping"](<object>self))


cdef inline PyObject *new_reference(object value) noexcept:
    Py_INCREF(value)
    return <PyObject *>value


cdef extern from *:
    """
    static PyMethodDef hb_json_methods[] = {
        {"from_json", NULL, METH_O, NULL},
        {"to_json", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"to_json_bytes", NULL, METH_FASTCALL | METH_KEYWORDS, NULL},
        {"to_mapping", NULL, METH_NOARGS, NULL},
    };

    static PyObject *hb_json_method(PyObject *type, int index, void *function, const char *documentation)
    {
        PyMethodDef *method = &hb_json_methods[index];
        method->ml_meth = (PyCFunction)(void (*)(void))function;
        method->ml_doc = documentation;
        if (index == 0)
            return PyDescr_NewClassMethod((PyTypeObject *)type, method);
        return PyDescr_NewMethod((PyTypeObject *)type, method);
    }
    """
    object hb_json_method(object, int, void *, const char *)


cdef void quick_method(object owner, str name, int index, void *function, str signature) except *:
    method = owner.__dict__[name]
    slow[name] = getattr(method, "__func__", method)
    cdef bytes documentation = f"{name}({signature})\n--\n\n{method.__doc__}".encode()
    Py_INCREF(documentation)  # for good: the method points to it
    type.__setattr__(owner, name, hb_json_method(owner, index, function, documentation))


def quick_methods(object owner):
    """Put the methods for plain data in C into State. They call those in Python for whatever is unusual."""
    quick_method(owner, "from_json", 0, <void *>from_json, "$type, text, /")
    quick_method(owner, "to_json", 1, <void *>to_json, "$self, *, indent=None")
    quick_method(owner, "to_json_bytes", 2, <void *>to_json_bytes, "$self, *, indent=None")
    quick_method(owner, "to_mapping", 3, <void *>to_mapping, "$self")


live_count(<PyObject *>Wired)  # before the first is made (see live.pxd)


def _live():
    """The number of Wireds that are alive in a debug build, or None in any other build."""
    return live_objects()

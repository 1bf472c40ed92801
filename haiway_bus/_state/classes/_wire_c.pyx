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
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, part_of, state_error
from haiway_bus._state.kinds.scalars import EXPONENT
from haiway_bus._state.kinds.stdlib import TextKind, standard_kind
from haiway_bus._state.wire.json_text import DEEP, LIBRARY
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

cdef object NO_VALUE = MISSING

cdef TypeIndex wireds           # from State classes to their Wireds. A Wired removes itself when it is freed.
index_allot(&wireds, 16)
cdef Py_ssize_t MOST = LIMIT

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
            self.parse = step.kind.parse
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

    cdef object load(self, object plain):
        if self.none and plain is None:
            return None
        if self.tests is None:
            return self.load_untested(plain)
        return self.tests.satisfied(self.load_untested(plain))

    cdef object load_untested(self, object plain):
        cdef PyObject *found
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
        elif self.code == MAPPING:
            if type(plain) is dict:
                return self.load_entries(<dict>plain)
        elif self.code == UNION:
            chosen = self.kind.choose(plain)
            return load_by(wired_of(chosen), chosen, plain)
        elif self.code >= UUID:
            loaded = self.load_text(plain)
            if loaded is not None:
                return loaded
        return self.kind.load(plain)

    cdef object load_text(self, object text):
        """Give the value of a text of the common form, or None."""
        cdef unsigned long long bits[2]
        if self.code == UUID:
            bits[0] = bits[1] = 0
            if not hb_uuid_bits(text, bits):
                return None
            value = HB_ALLOC(self.owner)
            number = (<object>bits[0] << 64) | bits[1]
            Py_INCREF(number)
            HB_STORE(value, self.int_offset, <PyObject *>number)
            Py_INCREF(self.safety)
            HB_STORE(value, self.safe_offset, <PyObject *>self.safety)
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

    cdef object load_entries(self, dict plain):
        cdef Conversion item = self.item
        cdef dict loaded = {}
        cdef list problems = None
        for key, value in plain.items():
            if type(key) is not str:
                return self.kind.load(plain)
            try:
                loaded[key] = item.load(value)
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(part_of(key))
                if len(problems) > MOST:
                    break
        if problems is not None:
            raise Mismatch(problems)
        frozen = dict.__new__(FrozenMap)
        PyDict_Update(frozen, loaded)
        return frozen

    cdef dict dump_entries(self, dict values, bint for_text):
        cdef Conversion item = self.item
        cdef dict dumped = {}
        cdef list problems = None
        for key, value in values.items():
            try:
                dumped[key if type(key) is str else self.kind.key.dump_key(key)] = item.dump(value, for_text)
            except Mismatch as wrong:
                problems = (problems or []) + wrong.under(part_of(key))
                if len(problems) > MOST:
                    break
        if problems is not None:
            raise Mismatch(problems)
        return dumped

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

    cdef object dump(self, object value, bint for_text):
        cdef double number
        cdef PyObject *found
        if self.none and value is None:
            return None
        if self.code == SAME:
            # msgspec refuses what is no plain data, such as a text of a derived class.
            if for_text or self.keeps(value):
                return value
        elif self.code == FLOAT:
            if type(value) is float:
                number = PyFloat_AS_DOUBLE(value)
                if 1e-4 <= number < 1e16 or number == 0 or -1e16 < number <= -1e-4:  # as `ordinary` in scalars.py
                    return value
        elif self.code == TABLE:
            plain = value if type(value) is str else getattr(value, "_value_", None)
            if type(plain) is str:
                found = PyDict_GetItemWithError(self.texts, plain)
                if found == <PyObject *>value or (found != NULL and plain is value and type(<object>found) is str):
                    return plain
        elif self.code == STATE:
            if self.wired is None:
                self.wired = wired_of(self.kind)
            return dump_by(self.wired, self.kind, value, for_text)
        elif self.code == SEQUENCE:
            if type(value) is tuple:
                if for_text and self.item.code == SAME:
                    return value
                return self.dump_items(<tuple>value, for_text)
        elif self.code == MAPPING:
            if type(value) is FrozenMap:
                if for_text and self.item.code == SAME:
                    return value
                return self.dump_entries(<dict>value, for_text)
        elif self.code == UNION:
            chosen = self.kind.writer(value)
            return dump_by(wired_of(chosen), chosen, value, for_text)
        elif self.code >= UUID:
            if for_text and self.code == UUID and <object>type(value) is self.owner:
                return value  # msgspec writes it in the same form
            text = self.dump_text(value)
            if text is not None:
                return text
        return self.kind.dump(value)

    cdef list dump_items(self, tuple values, bint for_text):
        cdef Conversion item = self.item
        cdef list dumped = []
        cdef list problems = None
        for value in values:
            try:
                dumped.append(item.dump(value, for_text))
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


cdef object dump_by(Wired wired, object wire, object value, bint for_text):
    """Dump a nested instance, as `load_by` loads it."""
    if wired is None:
        return wire.dump(value)
    hb_enter()
    try:
        return wired.dump_plain(value, for_text)
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

    cdef object default_now(self):
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
        return self.dump_plain(instance, False)

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
                Py_INCREF(<object>found)
                HB_STORE(instance, place.offset, found)
                continue
            try:
                if found != NULL:
                    count += 1
                if found != NULL and found != <PyObject *>NO_VALUE:
                    value = place.loading.load(<object>found)
                else:
                    value = place.default_now()
                    if value is NO_VALUE:
                        problems = absent(problems, place.field)
                        continue
            except Mismatch as wrong:
                problems = gathered(problems, place.field, wrong)
                continue
            Py_INCREF(value)
            HB_STORE(instance, place.offset, <PyObject *>value)
        kept = None if self.hidden is None else self.hidden.default
        if not from_struct and count != len(<dict>plain):
            problems, kept = unknown_keys(problems, self.blueprint, plain)
        if problems is not None:
            raise Mismatch(problems)
        if self.hidden is not None:
            Py_INCREF(kept)
            HB_STORE(instance, HB_MEMBER_OFFSET(self.hidden.member), <PyObject *>kept)
        if self.validates:
            validated(self.blueprint, instance)
        return instance

    cdef object dump_plain(self, object instance, bint for_text):
        """Give the plain form. For a text of msgspec, Structs stand in place of dicts, and some values as they are."""
        cdef Place place
        cdef list problems = None
        cdef dict plain
        if <object>type(instance) is not self.owner:
            raise lost(instance)
        if for_text and self.struct is not None and len(self.places) <= MOST_FIELDS:
            return self.dump_struct(instance)
        plain = {}
        for place in self.places:
            value = <object>HB_SLOT(instance, place.offset)
            if place.omitted and place.is_default(value):
                continue
            if place.dumping.stays(value):
                plain[place.key] = value
                continue
            try:
                plain[place.key] = place.dumping.dump(value, for_text)
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
                value = <object>HB_SLOT(instance, place.offset)
                if place.dumping.code != SAME:
                    value = place.dumping.dump(value, True)
                Py_INCREF(value)
                values[count] = <PyObject *>value
                count += 1
            return PyObject_Vectorcall(self.struct, values, count, NULL)
        finally:
            for index in range(count):
                Py_DECREF(<object>values[index])


cdef object slow_from_json
cdef object slow_to_json
cdef object slow_to_json_bytes
cdef object slow_to_mapping


cdef PyObject *from_json(PyObject *cls, PyObject *text) except NULL:
    cdef Slot *slot = slot_of(&wireds, cls)
    cdef Wired wired
    if slot.type != NULL:
        wired = <Wired>slot.value
        try:
            plain = (wired.decode or (<list>LIBRARY)[1])(<object>text)
        except Exception:
            plain = None
        if plain is not None and (type(plain) is dict or <object>type(plain) is wired.struct):
            try:
                return new_reference(wired.load_plain(plain))
            except Mismatch as wrong:
                problems = wrong.problems
            except RecursionError:
                problems = [("", DEEP)]
            raise state_error(wired.owner.__name__, problems)
    return new_reference(slow_from_json(<object>cls, <object>text))


cdef object quickly_written(PyObject *self):
    """The JSON text of an instance, or None where the methods in Python have to write it, or to tell what is wrong."""
    cdef Slot *slot = slot_of(&wireds, <PyObject *>Py_TYPE(<object>self))
    cdef Wired wired
    if slot.type == NULL:
        return None
    wired = <Wired>slot.value
    exponent = EXPONENT[0]
    try:
        text = (<list>LIBRARY)[0](wired.dump_plain(<object>self, wired.struct is not None))
    except Exception:
        return None
    return text if (<list>EXPONENT)[0] is exponent else None


cdef PyObject *to_json_bytes(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) except NULL:
    text = quickly_written(self) if count == 0 and names == NULL else None
    if text is None:
        text = call_with(slow_to_json_bytes, <object>self, args, count, names)
    return new_reference(text)


cdef PyObject *to_json(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) except NULL:
    text = quickly_written(self) if count == 0 and names == NULL else None
    if text is None:
        return new_reference(call_with(slow_to_json, <object>self, args, count, names))
    return new_reference(PyUnicode_DecodeUTF8(text, len(<bytes>text), NULL))


cdef PyObject *to_mapping(PyObject *self, PyObject *nothing) except NULL:
    cdef Slot *slot = slot_of(&wireds, <PyObject *>Py_TYPE(<object>self))
    cdef Wired wired
    if slot.type != NULL:
        wired = <Wired>slot.value
        try:
            return new_reference(wired.dump_plain(<object>self, False))
        except (Mismatch, RecursionError):
            pass
    return new_reference(slow_to_mapping(<object>self))


cdef object call_with(object method, object self, PyObject *const *args, Py_ssize_t count, PyObject *names):
    cdef Py_ssize_t index
    given = [self] + [<object>args[index] for index in range(count)]
    named = {}
    if names != NULL:
        named = {name: <object>args[count + index] for index, name in enumerate(<tuple><object>names)}
    return method(*given, **named)


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


cdef object quick_method(object owner, str name, int index, void *function, str signature):
    cdef bytes documentation = f"{name}({signature})\n--\n\n{getattr(owner, name).__doc__}".encode()
    Py_INCREF(documentation)  # for good: the method points to it
    type.__setattr__(owner, name, hb_json_method(owner, index, function, documentation))


def quick_methods(object owner):
    """Put the methods for plain data in C into State. They call those in Python for whatever is unusual."""
    global slow_from_json, slow_to_json, slow_to_json_bytes, slow_to_mapping
    slow_from_json = owner.__dict__["from_json"].__func__
    slow_to_json, slow_to_json_bytes, slow_to_mapping = owner.to_json, owner.to_json_bytes, owner.to_mapping
    quick_method(owner, "from_json", 0, <void *>from_json, "$type, text, /")
    quick_method(owner, "to_json", 1, <void *>to_json, "$self, *, indent=None")
    quick_method(owner, "to_json_bytes", 2, <void *>to_json_bytes, "$self, *, indent=None")
    quick_method(owner, "to_mapping", 3, <void *>to_mapping, "$self")


live_count(<PyObject *>Wired)  # before the first is made (see live.pxd)


def _live():
    """The number of Wireds that are alive in a debug build, or None in any other build."""
    return live_objects()

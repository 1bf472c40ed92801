# A table from types to objects, keyed by the address of the type. A look-up usually reads a single cache line.
#
# A dict would call `__hash__` of the metaclass and, on a collision, its `__eq__` (guarantee 1.6), and both can fail.
# This table uses open addressing with linear probing. At most half of the slots are taken, so that a look-up ends. The
# table holds no references: the code that adds an entry keeps both objects alive, or removes the entry in time.
#
# The code is inline, so that each extension module has it without importing another module.

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject


cdef struct Slot:
    PyObject *type              # NULL where the slot is free
    PyObject *value


cdef struct TypeIndex:
    Slot *slots
    size_t mask                 # the number of slots, a power of two, less one
    size_t used                 # at most half of the slots


cdef inline size_t home_of(TypeIndex *index, PyObject *type) noexcept:
    # Objects are 16 bytes apart, so the lowest bits say nothing; the multiplication spreads the others upwards.
    return ((<size_t>type >> 4) * <size_t>0x9E3779B1u >> 12) & index.mask


cdef inline Slot *slot_of(TypeIndex *index, PyObject *type) noexcept:
    # The slot of the type, or the free slot where it belongs.
    cdef size_t place = home_of(index, type)
    while index.slots[place].type != type and index.slots[place].type != NULL:
        place = (place + 1) & index.mask
    return &index.slots[place]


cdef inline int index_allot(TypeIndex *index, size_t size) except -1:
    # `size` is a power of two. Without memory, nothing changes.
    cdef Slot *former = index.slots
    cdef size_t former_size = index.mask + 1 if former != NULL else 0
    cdef Slot *slots = <Slot *>PyMem_Calloc(size, sizeof(Slot))
    cdef size_t place
    if slots == NULL:
        raise MemoryError
    index.slots = slots
    index.mask = size - 1
    for place in range(former_size):
        if former[place].type != NULL:
            slot_of(index, former[place].type)[0] = former[place]
    PyMem_Free(former)
    return 0


cdef inline int index_reserve(TypeIndex *index, size_t number) except -1:
    # Make room for `number` types in all. Apart from index_add, so that adding to two tables cannot fail between them.
    while number * 2 > index.mask + 1:
        index_allot(index, (index.mask + 1) * 2)
    return 0


cdef inline void index_add(TypeIndex *index, PyObject *type, PyObject *value) noexcept:
    cdef Slot *slot = slot_of(index, type)
    slot.type = type
    slot.value = value
    index.used += 1


cdef inline void index_remove(TypeIndex *index, PyObject *type) noexcept:
    # Entries behind the freed slot move up if their look-up would otherwise end too early.
    cdef size_t free = slot_of(index, type) - index.slots
    cdef size_t place = free
    if index.slots[free].type == NULL:
        return
    index.used -= 1
    while True:
        place = (place + 1) & index.mask
        if index.slots[place].type == NULL:
            break
        if ((place - home_of(index, index.slots[place].type)) & index.mask) >= ((place - free) & index.mask):
            index.slots[free] = index.slots[place]
            free = place
    index.slots[free].type = NULL


cdef inline void index_clear(TypeIndex *index) noexcept:
    cdef size_t place
    for place in range(index.mask + 1):
        index.slots[place].type = NULL
    index.used = 0

# cython: language_level=3
"""The common forms of texts that stand for values, converted in C: UUIDs, dates and times, decimal numbers.

Each function gives None for a text or a value that is not of the common form. The kind then decides what it is.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

cdef extern from *:
    """
    #include <datetime.h>
    #include <structmember.h>   /* PyMemberDef, up to 3.11 */

    #define HB_ALLOC(type) (((PyTypeObject *)(type))->tp_alloc((PyTypeObject *)(type), 0))
    #define HB_SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))
    #define HB_STORE(object, offset, value) (HB_SLOT(object, offset) = (value))
    #define HB_MEMBER_OFFSET(member) (((PyMemberDescrObject *)(member))->d_member->offset)

    /* The characters of a text in ASCII, or NULL. */
    static const char *hb_ascii(PyObject *text, Py_ssize_t *length)
    {
        if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text))
            return NULL;
        *length = PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_1BYTE_DATA(text);
    }

    static int hb_hex(char c)
    {
        if (c >= '0' && c <= '9')
            return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    }

    /* Whether the text is of this form: '0' stands for a digit, any other character for itself. */
    static int hb_formed(const char *text, const char *form)
    {
        for (; *form; text++, form++) {
            if (*form == '0' ? (*text < '0' || *text > '9') : *text != *form)
                return 0;
        }
        return 1;
    }

    /* 0123456701234567... in groups of 8, 4, 4, 4 and 12, as 128 bits. */
    static int hb_uuid_bits(PyObject *text, unsigned long long bits[2])
    {
        Py_ssize_t length;
        const char *at = hb_ascii(text, &length);
        int digits = 0;
        if (at == NULL || length != 36)
            return 0;
        for (int i = 0; i < 36; i++) {
            if (i == 8 || i == 13 || i == 18 || i == 23) {
                if (at[i] != '-')
                    return 0;
                continue;
            }
            int digit = hb_hex(at[i]);
            if (digit < 0)
                return 0;
            bits[digits / 16] = bits[digits / 16] << 4 | (unsigned)digit;
            digits++;
        }
        return 1;
    }

    static PyObject *hb_uuid_text(const unsigned long long bits[2])
    {
        PyObject *text = PyUnicode_New(36, 127);
        if (text == NULL)
            return NULL;
        char *at = (char *)PyUnicode_1BYTE_DATA(text);
        for (int digits = 0, i = 0; i < 36; i++) {
            if (i == 8 || i == 13 || i == 18 || i == 23) {
                at[i] = '-';
                continue;
            }
            at[i] = "0123456789abcdef"[bits[digits / 16] >> (60 - digits % 16 * 4) & 15];
            digits++;
        }
        return text;
    }

    /* 2026-01-31T12:30:00, with a fraction of at most six digits, with Z or +02:00 or nothing. */
    static int hb_is_moment(PyObject *text)
    {
        Py_ssize_t length, i = 19;
        const char *at = hb_ascii(text, &length);
        if (at == NULL || length < 19 || !hb_formed(at, "0000-00-00T00:00:00"))
            return 0;
        if (at[11] == '2' && at[12] == '4')
            return 0; /* some Pythons read 24:00 as the 0:00 of the next day */
        if (at[i] == '.') {
            for (i++; i < 27 && at[i] >= '0' && at[i] <= '9'; i++)
                ;
            if (i == 20 || i == 27)
                return 0;
        }
        if (i == length)
            return 1;
        if (at[i] == 'Z')
            return i + 1 == length;
        return (at[i] == '+' || at[i] == '-') && i + 6 == length && hb_formed(at + i + 1, "00:00") &&
               at[i + 4] < '6'; /* some Pythons read +00:90 as +01:30 */
    }

    static char *hb_digits(char *at, unsigned number, int count)
    {
        for (int i = count - 1; i >= 0; i--, number /= 10)
            at[i] = '0' + number % 10;
        return at + count;
    }

    /* isoformat() of a date, or of a datetime, whose offset in minutes is written if it has a zone. */
    static PyObject *hb_iso_text(PyObject *value, int is_moment, int minutes)
    {
        char text[33], *at = text;
        at = hb_digits(at, PyDateTime_GET_YEAR(value), 4);
        *at++ = '-';
        at = hb_digits(at, PyDateTime_GET_MONTH(value), 2);
        *at++ = '-';
        at = hb_digits(at, PyDateTime_GET_DAY(value), 2);
        if (is_moment) {
            *at++ = 'T';
            at = hb_digits(at, PyDateTime_DATE_GET_HOUR(value), 2);
            *at++ = ':';
            at = hb_digits(at, PyDateTime_DATE_GET_MINUTE(value), 2);
            *at++ = ':';
            at = hb_digits(at, PyDateTime_DATE_GET_SECOND(value), 2);
            if (PyDateTime_DATE_GET_MICROSECOND(value)) {
                *at++ = '.';
                at = hb_digits(at, PyDateTime_DATE_GET_MICROSECOND(value), 6);
            }
            if (((const PyDateTime_DateTime *)value)->hastzinfo) {
                *at++ = minutes < 0 ? '-' : '+';
                at = hb_digits(at, abs(minutes) / 60, 2);
                *at++ = ':';
                at = hb_digits(at, abs(minutes) % 60, 2);
            }
        }
        PyObject *made = PyUnicode_New(at - text, 127);
        if (made != NULL)
            memcpy(PyUnicode_1BYTE_DATA(made), text, at - text);
        return made;
    }

    static int hb_is_day(PyObject *text)
    {
        Py_ssize_t length;
        const char *at = hb_ascii(text, &length);
        return at != NULL && length == 10 && hb_formed(at, "0000-00-00");
    }

    /* -12.50 */
    static int hb_is_decimal(PyObject *text)
    {
        Py_ssize_t length = 0;
        const char *at = hb_ascii(text, &length), *end = at + length;
        int whole = 0, fraction = 0;
        if (at == NULL || length > 40)
            return 0;
        at += *at == '-';
        for (; *at >= '0' && *at <= '9'; at++)
            whole++;
        if (*at == '.') {
            for (at++; *at >= '0' && *at <= '9'; at++)
                fraction++;
            if (fraction == 0)
                return 0;
        }
        return whole > 0 && at == end;
    }
    """
    object HB_ALLOC(object)
    PyObject *HB_SLOT(object, Py_ssize_t) noexcept
    void HB_STORE(object, Py_ssize_t, PyObject *) noexcept
    Py_ssize_t HB_MEMBER_OFFSET(object) noexcept
    bint hb_uuid_bits(object, unsigned long long *) noexcept
    object hb_uuid_text(const unsigned long long *)
    object hb_iso_text(object, bint, int)
    bint hb_is_moment(object) noexcept
    bint hb_is_day(object) noexcept
    bint hb_is_decimal(object) noexcept

cdef extern from "Python.h":
    unsigned long long PyLong_AsUnsignedLongLongMask(object) except? 0xFFFFFFFFFFFFFFFF

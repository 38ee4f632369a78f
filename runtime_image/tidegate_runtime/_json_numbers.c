/* Lifts arrays of numbers out of JSON, at twice the speed of simdjson (docs/performance.md).

   lift(text, mark, most) -> (rest, arrays)

   `rest` is the text in which each array of numbers that is a member of an object is replaced by the object
   {"MARK":I}, I being its place in `arrays`; a member called "shape" stays.  An array is (buffer, kind, shape, low,
   high): numbers of eight bytes each, kind "i" (int64), "u" (uint64, one is above int64) or "d" (float64), the sizes
   of its nested lists, and its least and greatest number.  Raises OverflowError when all of it is more than `most`
   values of some 32 bytes in memory.

   Nothing is judged here: what is not plainly numbers in lists that are nested like a box stays in the text, and
   whoever reads the rest says what is wrong.  Numbers are rounded correctly, ties to even. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || !defined(__SIZEOF_INT128__)
#error "needs a 64-bit little-endian processor"
#endif

#define MOST_LEVELS 16
#define LONGEST 800  /* characters of a number that is read the slow way */
#define WINDOW 64    /* bytes that are searched for separators at once */
#define WINDOWS 32   /* of them, at most, before the numbers between their separators are read */
#define BEFORE 16    /* bytes that are read before the end of a number, however short it is */

/* What becomes of the rest, in values of 32 bytes. */
#define LIST 2
#define OBJECT 6
#define MEMBER 4
#define ARRAY 16

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define EXACT 22 /* the greatest power of ten that a double holds */
static const uint64_t FIVES[] = {
    1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125, 9765625, 48828125, 244140625, 1220703125, 6103515625u,
    30517578125u, 152587890625u, 762939453125u, 3814697265625u, 19073486328125u, 95367431640625u, 476837158203125u,
    2384185791015625u, 11920928955078125u, 59604644775390625u, 298023223876953125u, 1490116119384765625u,
    7450580596923828125u,
};
#define MOST_FIVES 27 /* the greatest power of five below 2^63 */
static const uint64_t TENS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

typedef union {
    int64_t i;
    uint64_t u;
    double d;
} Number;

typedef struct {
    PyObject *bytes; /* a bytearray */
    Number *to;      /* its memory */
    Py_ssize_t count, room;
    char kind;
    bool negative; /* a whole number below zero is among them */
    Number low, high;
} Numbers;

/* -- eight characters at once; little-endian: the first is the lowest byte */

#define ALL(c) (0x0101010101010101ull * (c))

static inline uint64_t load(const char *at)
{
    uint64_t eight;
    memcpy(&eight, at, 8);
    return eight;
}

/* Whether all are digits, given as they differ from '0'. */
static inline bool are_digits(uint64_t digits) { return !(((digits + ALL(6)) | digits) & ALL(0xF0)); }

static inline uint64_t value(uint64_t digits)
{
    digits = digits * 10 + (digits >> 8);
    return (((digits & 0x000000FF000000FFull) * 0x000F424000000064ull) +
            (((digits >> 16) & 0x000000FF000000FFull) * 0x0000271000000001ull)) >> 32;
}

/* The last `count` (1 to 8) of the eight characters before `end`, as digits after zeros. */
static inline uint64_t last_digits(const char *end, Py_ssize_t count)
{
    int others = 8 * (8 - (int)count);
    return ((load(end - 8) ^ ALL('0')) >> others) << others;
}

/* Up to 16 digits that end at `end`; false when they are something else. */
static inline bool whole(const char *end, Py_ssize_t count, uint64_t *found)
{
    if (count <= 8) {
        uint64_t digits = last_digits(end, count);
        *found = value(digits);
        return are_digits(digits);
    }
    uint64_t low = load(end - 8) ^ ALL('0'), high = last_digits(end - 8, count - 8);
    *found = value(high) * 100000000 + value(low);
    return are_digits(low) && are_digits(high);
}

/* -- numbers */

static inline bool is_digit(char c) { return (unsigned char)(c - '0') < 10; }
static inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static bool make_room(Numbers *to)
{
    Py_ssize_t room = to->room * 2;
    if (PyByteArray_Resize(to->bytes, room * 8) < 0)
        return false;
    to->to = (Number *)PyByteArray_AsString(to->bytes);
    to->room = room;
    return true;
}

static void become_fractions(Numbers *to)
{
    for (Py_ssize_t i = 0; i < to->count; i++)
        to->to[i].d = to->kind == 'i' ? (double)to->to[i].i : (double)to->to[i].u;
    to->low.d = to->kind == 'i' ? (double)to->low.i : (double)to->low.u;
    to->high.d = to->kind == 'i' ? (double)to->high.i : (double)to->high.u;
    to->kind = 'd';
}

static inline void add_fraction(Numbers *to, double x)
{
    if (to->kind != 'd')
        become_fractions(to);
    if (!to->count)
        to->low.d = to->high.d = x;
    to->low.d = x < to->low.d ? x : to->low.d;
    to->high.d = x > to->high.d ? x : to->high.d;
    to->to[to->count++].d = x;
}

static inline bool add_whole(Numbers *to, uint64_t magnitude, bool minus)
{
    if (to->kind == 'd') {
        double x = (double)magnitude;
        add_fraction(to, minus && magnitude ? -x : x);
        return true;
    }
    Number n = {.u = minus ? 0 - magnitude : magnitude};
    if (minus && magnitude > (uint64_t)INT64_MAX + 1)
        return false;
    if (!minus && magnitude > INT64_MAX) {
        if (to->negative)
            return false;
        to->kind = 'u';
    }
    if (minus && magnitude) {
        if (to->kind == 'u')
            return false;
        to->negative = true;
    }
    if (!to->count)
        to->low = to->high = n;
    if (to->kind == 'u') {
        to->low.u = n.u < to->low.u ? n.u : to->low.u;
        to->high.u = n.u > to->high.u ? n.u : to->high.u;
    } else {
        to->low.i = n.i < to->low.i ? n.i : to->low.i;
        to->high.i = n.i > to->high.i ? n.i : to->high.i;
    }
    to->to[to->count++] = n;
    return true;
}

/* Digits from `at` on, after those in *mantissa; gives where they end. */
static inline const char *digits(const char *at, const char *end, uint64_t *mantissa)
{
    uint64_t eight;
    for (; end - at >= 8 && are_digits(eight = load(at) ^ ALL('0')); at += 8)
        *mantissa = *mantissa * 100000000 + value(eight);
    for (; at < end && is_digit(*at); at++)
        *mantissa = *mantissa * 10 + (uint64_t)(*at - '0');
    return at;
}

/* mantissa / 10^power, power at most MOST_FIVES, by one exact division, rounded to nearest, ties to even. */
static double divided(uint64_t mantissa, int power)
{
    uint64_t five = FIVES[power];
    int up = __builtin_clzll(mantissa), down = __builtin_clzll(five);
    mantissa <<= up;
    five <<= down;
    unsigned __int128 dividend = (unsigned __int128)mantissa << 63;
    uint64_t quotient = (uint64_t)(dividend / five);
    bool inexact = (unsigned __int128)quotient * five != dividend;
    int exponent = down - up - power - 63; /* of the quotient's lowest bit */
    int extra = 11 - __builtin_clzll(quotient);
    uint64_t kept = quotient >> extra, cut = quotient & ((1ull << extra) - 1), half = 1ull << (extra - 1);
    if (cut > half || (cut == half && (inexact || (kept & 1))))
        kept++; /* up to 2^53, which a double holds, too */
    double x = (double)kept;
    int scale = exponent + extra;
    uint64_t bits;
    memcpy(&bits, &x, 8);
    bits += (uint64_t)(int64_t)scale << 52;
    memcpy(&x, &bits, 8);
    return x;
}

static bool add_slowly(Numbers *to, const char *at, Py_ssize_t size)
{
    char text[LONGEST + 1];
    if (size > LONGEST)
        return false;
    memcpy(text, at, size);
    text[size] = 0;
    double x = PyOS_string_to_double(text, NULL, NULL);
    if (x == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    if (x - x != 0)
        return false; /* too great for a double */
    add_fraction(to, x);
    return true;
}

/* What is between two separators: any number of JSON; false when it is none. */
static bool add_any(Numbers *to, const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    while (at < end && is_space(end[-1]))
        end--;
    const char *begin = at;
    bool minus = at < end && *at == '-';
    at += minus;
    const char *first = at;
    uint64_t mantissa = 0;
    at = digits(at, end, &mantissa);
    Py_ssize_t count = at - first;
    if (!count || (count > 1 && *first == '0'))
        return false;
    if (at == end) {
        if (count < 20)
            return add_whole(to, mantissa, minus);
        /* 20 digits may be above uint64 */
        if (count == 20 && *first == '1' && mantissa >= 10000000000000000000ull)
            return add_whole(to, mantissa, minus);
        return false;
    }
    int power = 0;
    if (*at == '.') {
        const char *point = ++at;
        at = digits(at, end, &mantissa);
        if (at == point || at - point > LONGEST)
            return false;
        count += at - point;
        power = -(int)(at - point);
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        bool down = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        const char *start = at;
        int exponent = 0;
        while (at < end && is_digit(*at)) {
            exponent = exponent < 10000 ? exponent * 10 + (*at - '0') : exponent;
            at++;
        }
        if (at == start)
            return false;
        power += down ? -exponent : exponent;
    }
    if (at != end)
        return false;
    double x;
    if (count > 19 || (mantissa >> 53 && power > 0) || power > EXACT || power < -MOST_FIVES || !mantissa)
        return add_slowly(to, begin, end - begin);
    if (mantissa >> 53 || power < -EXACT)
        x = divided(mantissa, -power);
    else
        x = power < 0 ? (double)mantissa / POWERS[-power] : (double)mantissa * POWERS[power];
    add_fraction(to, minus ? -x : x);
    return true;
}

/* What nearly all fractions look like: [-]D.DDD, at most 16 digits behind the point. */
static inline bool plain_fraction(const char *at, const char *end, double *to)
{
    Number n;
    uint64_t found;
    bool minus = *at == '-';
    at += minus;
    Py_ssize_t digits = end - at - 2;
    uint64_t first = (unsigned char)(*at - '0');
    if ((size_t)(digits - 1) > 15 || at[1] != '.' || first > 9 || !whole(end, digits, &found))
        return false;
    found += first * (digits <= 8 ? TENS[digits] : TENS[8] * TENS[digits - 8]);
    n.d = found >> 53 ? divided(found, (int)digits) : (double)found / POWERS[digits];
    n.u |= (uint64_t)minus << 63;
    *to = n.d;
    return true;
}

/* And whole ones. */
static inline bool add(Numbers *to, const char *at, const char *end)
{
    uint64_t found;
    bool minus = *at == '-';
    const char *first = at + minus;
    Py_ssize_t digits = end - first;
    if (digits > 0 && digits <= 16 && (*first != '0' || digits == 1) && whole(end, digits, &found))
        return add_whole(to, found, minus);
    return add_any(to, at, end);
}


/* A bit for each of the next WINDOW bytes that is `c`. */
static inline uint64_t places_of(const char *at, char c)
{
    uint64_t found = 0;
#ifdef __SSE2__
    for (int part = 0; part < 4; part++) {
        __m128i some = _mm_loadu_si128((const __m128i *)(at + 16 * part));
        found |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(some, _mm_set1_epi8(c))) << (16 * part);
    }
#else
    for (int part = 0; part < 8; part++) {
        uint64_t other = load(at + 8 * part) ^ ALL((unsigned char)c);
        uint64_t equal = ~(((other & ALL(0x7F)) + ALL(0x7F)) | other | ALL(0x7F));
        found |= (((equal >> 7) * 0x0102040810204080ull) >> 56) << (8 * part);
    }
#endif
    return found;
}

/* Writes where commas are, and the first ']', in up to `windows` windows from `at` on: offsets from there.  Gives the
   end of what it wrote; *last says that there is nothing more to be looked for. */
static uint32_t *separators(const char *at, const char *end, int windows, uint32_t *next, bool *last)
{
    char padded[WINDOW];
    for (uint32_t offset = 0; windows-- && !*last; offset += WINDOW, at += WINDOW) {
        const char *window = at;
        if (end - at < WINDOW) {
            memset(padded, ' ', WINDOW);
            memcpy(padded, at, end - at);
            window = padded;
            *last = true;
        }
        uint64_t found = places_of(window, ','), closes = places_of(window, ']');
        if (closes) {
            uint64_t first = closes & (0 - closes);
            found = (found & (first - 1)) | first;
            *last = true;
        }
        uint32_t *begin = next;
        next += __builtin_popcountll(found);
        for (int i = 0; i < 8; i++, found &= found - 1) /* mostly all; what is too much is written over */
            begin[i] = offset + (uint32_t)__builtin_ctzll(found | 1ull << 63);
        for (begin += 8; found; found &= found - 1)
            *begin++ = offset + (uint32_t)__builtin_ctzll(found);
    }
    return next;
}

/* Reads the numbers that end at `places`; gives where the next one begins, NULL when one is none. */
static const char *between(Numbers *to, const char *from, const char *base, const uint32_t *places, const uint32_t *next)
{
    while (places < next) {
        if (to->kind == 'd') { /* in registers: three times as fast */
            double x, low = to->low.d, high = to->high.d;
            Number *out = to->to + to->count;
            for (; places < next; from = base + *places++ + 1) {
                if (!plain_fraction(from + (*from == ' '), base + *places, &x)) /* Python writes ", " */
                    break;
                low = x < low ? x : low;
                high = x > high ? x : high;
                (out++)->d = x;
            }
            to->count = out - to->to;
            to->low.d = low;
            to->high.d = high;
            if (places == next)
                break;
        }
        if (!add(to, from + (*from == ' '), base + *places))
            return NULL;
        from = base + *places++ + 1;
    }
    return from;
}

/* The numbers from `at` to the next ']', of which the place is given; NULL when there is something else, or no
   memory. */
static const char *leaf(Numbers *to, const char *at, const char *end)
{
    uint32_t places[WINDOWS * WINDOW + 8];
    const char *from = at; /* the number that is read next */
    bool last = false;
    for (int windows = 1; !last; windows = windows < WINDOWS ? 2 * windows : WINDOWS) {
        const uint32_t *next = separators(at, end, windows, places, &last);
        while (to->room < to->count + (next - places))
            if (!make_room(to))
                return NULL;
        from = between(to, from, at, places, next);
        if (!from)
            return NULL;
        at += windows * WINDOW;
    }
    return from[-1] == ']' ? from - 1 : NULL;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* Lists of numbers nested like a box, from their '[' on: gives where they end, NULL when they are something else. */
static const char *box(Numbers *to, const char *at, const char *end, Py_ssize_t *sizes, int *levels)
{
    Py_ssize_t counts[MOST_LEVELS];
    int level = 0;
    *levels = 0;
    while (at < end) {
        if (*at != '[' || level == MOST_LEVELS)
            return NULL;
        counts[level] = 0;
        if (!*levels)
            sizes[level] = -1;
        level++;
        at = skip_space(at + 1, end);
        if (at < end && *at == '[') {
            if (level == *levels)
                return NULL;
            continue;
        }
        if (*levels && level != *levels)
            return NULL;
        *levels = level;
        Py_ssize_t before = to->count;
        at = leaf(to, at, end);
        if (!at)
            return NULL;
        counts[level - 1] = to->count - before;
        for (;;) { /* at a ']' */
            level--;
            if (sizes[level] != -1 && sizes[level] != counts[level])
                return NULL;
            sizes[level] = counts[level];
            if (!level)
                return at + 1;
            counts[level - 1]++;
            at = skip_space(at + 1, end);
            if (at == end || (*at != ',' && *at != ']'))
                return NULL;
            if (*at == ',')
                break;
        }
        at = skip_space(at + 1, end);
    }
    return NULL;
}

/* -- Python */

static bool start(Numbers *to)
{
    to->room = 64;
    to->bytes = PyByteArray_FromStringAndSize(NULL, to->room * 8);
    to->to = to->bytes ? (Number *)PyByteArray_AsString(to->bytes) : NULL;
    return to->bytes;
}

static PyObject *python_number(char kind, Number n)
{
    if (kind == 'd')
        return PyFloat_FromDouble(n.d);
    return kind == 'u' ? PyLong_FromUnsignedLongLong(n.u) : PyLong_FromLongLong(n.i);
}

/* The array as Python gets it; takes its buffer away. */
static PyObject *finished(Numbers *to, const Py_ssize_t *sizes, int levels)
{
    PyObject *shape = PyTuple_New(levels);
    for (int i = 0; shape && i < levels; i++) {
        PyObject *size = PyLong_FromSsize_t(sizes[i]);
        if (!size || PyTuple_SetItem(shape, i, size) < 0)
            Py_CLEAR(shape);
    }
    if (!shape || PyByteArray_Resize(to->bytes, to->count * 8) < 0) {
        Py_XDECREF(shape);
        return NULL;
    }
    PyObject *bytes = to->bytes;
    to->bytes = NULL;
    return Py_BuildValue("(NCNNN)", bytes, to->kind, shape, python_number(to->kind, to->low),
                         python_number(to->kind, to->high));
}

typedef struct {
    char *bytes;
    Py_ssize_t size, room;
} Rest;

static bool append(Rest *rest, const char *from, Py_ssize_t size)
{
    if (size > rest->room - rest->size) {
        Py_ssize_t room = 2 * (rest->size + size) + 256;
        char *bytes = PyMem_Realloc(rest->bytes, room);
        if (!bytes) {
            PyErr_NoMemory();
            return false;
        }
        rest->bytes = bytes;
        rest->room = room;
    }
    memcpy(rest->bytes + rest->size, from, size);
    rest->size += size;
    return true;
}

/* Where the text ends that begins behind a quotation mark; NULL when it does not. */
static const char *end_of_text(const char *at, const char *end)
{
    for (const char *from = at; (at = memchr(at, '"', end - at)); at++) {
        const char *back = at;
        while (back > from && back[-1] == '\\')
            back--;
        if ((at - back) % 2 == 0)
            return at;
    }
    return NULL;
}

typedef struct {
    PyObject *arrays;
    Numbers numbers;
    Rest rest;
    const char *copied; /* of the text up to here */
    Py_ssize_t weight, most;
    const char *mark;
} Lifting;

/* Tries to lift what begins at `at`: gives where to go on, which is `at` itself when it stays; NULL on an error. */
static const char *lift_one(Lifting *lifting, const char *at, const char *end)
{
    Py_ssize_t sizes[MOST_LEVELS];
    int levels;
    Numbers *numbers = &lifting->numbers;
    if (!numbers->bytes && !start(numbers))
        return NULL;
    numbers->count = 0;
    numbers->kind = 'i';
    numbers->negative = false;
    const char *stop = box(numbers, at, end, sizes, &levels);
    if (!stop)
        return PyErr_Occurred() ? NULL : at;
    lifting->weight += numbers->count + ARRAY;
    char place[64];
    int size = PyOS_snprintf(place, sizeof place, "{\"%s\":%zd}", lifting->mark, PyList_Size(lifting->arrays));
    PyObject *array = finished(numbers, sizes, levels);
    bool done = array && PyList_Append(lifting->arrays, array) == 0 &&
                append(&lifting->rest, lifting->copied, at - lifting->copied) && append(&lifting->rest, place, size);
    Py_XDECREF(array);
    lifting->copied = stop;
    return done ? stop : NULL;
}

static bool lift_all(Lifting *lifting, const char *begin, const char *end)
{
    const char *key = NULL, *key_end = NULL;
    for (const char *at = begin; at < end && lifting->weight <= lifting->most;) {
        switch (*at++) {
        case '"':
            key = at;
            key_end = end_of_text(at, end);
            if (!key_end)
                return true;
            at = key_end + 1;
            break;
        case ':':
            lifting->weight += MEMBER;
            at = skip_space(at, end);
            if (at == end || *at != '[' || at - begin < BEFORE || !key || (key_end - key == 5 && !memcmp(key, "shape", 5)))
                break;
            at = lift_one(lifting, at, end);
            if (!at)
                return false;
            break;
        case ',':
            lifting->weight++;
            break;
        case '[':
            lifting->weight += LIST;
            break;
        case '{':
            lifting->weight += OBJECT;
            break;
        }
    }
    if (lifting->weight > lifting->most)
        PyErr_SetString(PyExc_OverflowError, "too many values");
    return lifting->weight <= lifting->most;
}

static PyObject *lift(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer text;
    Lifting lifting = {0};
    if (!PyArg_ParseTuple(arguments, "y*sn", &text, &lifting.mark, &lifting.most))
        return NULL;
    const char *begin = text.buf, *end = begin + text.len;
    PyObject *rest = NULL, *found = NULL;
    lifting.copied = begin;
    lifting.arrays = PyList_New(0);
    if (lifting.arrays && lift_all(&lifting, begin, end) && append(&lifting.rest, lifting.copied, end - lifting.copied))
        rest = PyBytes_FromStringAndSize(lifting.rest.bytes, lifting.rest.size);
    if (rest)
        found = Py_BuildValue("(NO)", rest, lifting.arrays);
    PyMem_Free(lifting.rest.bytes);
    Py_XDECREF(lifting.numbers.bytes);
    Py_XDECREF(lifting.arrays);
    PyBuffer_Release(&text);
    return found;
}

static PyMethodDef METHODS[] = {
    {"lift", lift, METH_VARARGS, "lift(text, mark, most) -> (rest, arrays): arrays of numbers out of JSON"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_json_numbers", NULL, 0, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__json_numbers(void) { return PyModule_Create(&MODULE); }

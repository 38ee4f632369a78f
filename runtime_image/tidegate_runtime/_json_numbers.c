/* Lifts arrays of numbers out of JSON, at twice the speed of simdjson (docs/performance.md).

   lift(text, mark, most) -> (rest, arrays)

   `rest` is the text in which each array of numbers that is a member of an object is replaced by the list
   ["MARK",I], I being its place in `arrays`; a member called "shape" stays.  An array is (buffer, kind, shape, low,
   high): numbers of eight bytes each, kind "i" (int64), "u" (uint64, one is above int64) or "d" (float64), the sizes
   of its nested lists, and its least and greatest number.  Raises OverflowError when all of it is more than `most`
   values of some 32 bytes in memory.

   Nothing is judged here: what is not plainly numbers in lists that are nested like a box stays in the text, and
   whoever reads the rest says what is wrong.  Numbers are rounded correctly, ties to even. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "_json_numbers.h"

#define MOST_LEVELS 16
#define WINDOW 64  /* bytes that are searched for separators at once */
#define MANY 64    /* arrays: few requests have more tensors, but rows may be many, each with its own */
#define SMALL 32   /* numbers: orjson reads so few as quickly as they are lifted and given back */
#define WINDOWS 32 /* of them, at most, before the numbers between their separators are read */

/* What becomes of the rest, in values of 32 bytes. */
#define LIST 2
#define OBJECT 6
#define MEMBER 4
#define ARRAY 16

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
    for (; places < next && base + *places - to->begin < BEFORE; from = base + *places++ + 1)
        if (!add_any(to, from, base + *places))
            return NULL;
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

/* The numbers from `at` to the next ']', of which the place is given; NULL when there is something else, too many of
   them, or no memory. */
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
        if (!from || to->count > to->most)
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
    numbers->most = lifting->most - lifting->weight; /* with more the text is refused: its commas weigh as much */
    numbers->kind = 'i';
    numbers->negative = false;
    const char *stop = box(numbers, at, end, sizes, &levels);
    if (!stop)
        return PyErr_Occurred() ? NULL : at;
    if (numbers->count < SMALL && PyList_Size(lifting->arrays) >= MANY)
        return at;
    lifting->weight += numbers->count + ARRAY;
    char place[64];
    int size = PyOS_snprintf(place, sizeof place, "[\"%s\",%zd]", lifting->mark, PyList_Size(lifting->arrays));
    if (size >= (int)sizeof place) {
        PyErr_SetString(PyExc_ValueError, "the mark is too long");
        return NULL;
    }
    PyObject *array = finished(numbers, sizes, levels);
    bool done = array && PyList_Append(lifting->arrays, array) == 0 &&
                append(&lifting->rest, lifting->copied, at - lifting->copied) && append(&lifting->rest, place, size);
    Py_XDECREF(array);
    lifting->copied = stop;
    return done ? stop : NULL;
}

/* Whether the member of this key stays in the text: a shape, and what may be one, written with escapes. */
static bool stays(const char *key, const char *end)
{
    return (end - key == 5 && !memcmp(key, "shape", 5)) || memchr(key, '\\', end - key);
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
            if (at == end || *at != '[' || !key || stays(key, key_end))
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

/* What is left of the text: the text itself where nothing was lifted, as it may be long. */
static PyObject *left(Lifting *lifting, PyObject *text, const char *end)
{
    if (!PyList_Size(lifting->arrays)) {
        Py_INCREF(text);
        return text;
    }
    if (!append(&lifting->rest, lifting->copied, end - lifting->copied))
        return NULL;
    return PyBytes_FromStringAndSize(lifting->rest.bytes, lifting->rest.size);
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
    lifting.copied = lifting.numbers.begin = begin;
    lifting.arrays = PyList_New(0);
    if (lifting.arrays && lift_all(&lifting, begin, end))
        rest = left(&lifting, PyTuple_GetItem(arguments, 0), end);
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

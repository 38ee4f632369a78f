/* Numbers of JSON, one after another, into memory that grows: whole ones of 64 bits while all are, else doubles.

   What is read is checked, too: whoever calls gets false for what is no number of JSON, or has no place here. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || !defined(__SIZEOF_INT128__)
#error "needs a 64-bit little-endian processor"
#endif

#define LONGEST 800 /* characters of a number that is read the slow way */
#define BEFORE 16   /* bytes that are read before the end of a number, however short it is, unless fewer are there */

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
    PyObject *bytes;   /* a bytearray */
    Number *to;        /* its memory */
    const char *begin; /* of the text */
    Py_ssize_t count, room, most;
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

/* value_priv.h -- the format, for the two files that write and read it.
 *
 * It is for this program alone: a header byte, then one value. A value is a
 * tag byte and what it needs; lengths and integers are varints of seven bits
 * a byte, lowest first. Small integers and short strings, which is most of
 * them, sit in the tag itself. A table is its length n, its items 1..n, pairs
 * of keys and other values, and an end tag. A table that was written before
 * is a reference to it, by the order in which tables began; the header says
 * whether there is any, so that reading plain trees costs no bookkeeping. */
#ifndef SCRIPT_VALUE_PRIV_H
#define SCRIPT_VALUE_PRIV_H

#define VALUE_TREE   0x01 /* no table is in there twice */
#define VALUE_SHARED 0x02

enum value_tag {
    VALUE_TAG_NIL,
    VALUE_TAG_FALSE,
    VALUE_TAG_TRUE,
    VALUE_TAG_NULL,
    VALUE_TAG_INTEGER, /* zigzag varint */
    VALUE_TAG_FLOAT,   /* 8 bytes, lowest first */
    VALUE_TAG_STRING,  /* length, bytes */
    VALUE_TAG_TABLE,   /* n, items, pairs, VALUE_TAG_END */
    VALUE_TAG_ARRAY,   /* the same with json.array's mark */
    VALUE_TAG_REFERENCE,
    VALUE_TAG_END,
    VALUE_TAG_SMALL_STRING = 0x80, /* + length, up to VALUE_SMALL_MAX */
    VALUE_TAG_SMALL_INTEGER = 0xc0 /* + value, up to VALUE_SMALL_MAX */
};

#define VALUE_SMALL_MAX 0x3f

#endif

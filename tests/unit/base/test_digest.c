#include "base/digest.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_hex(const uint8_t *got, size_t n, const char *hex)
{
    char text[2 * DIGEST_MAX_BYTES + 1];
    assert_true(n <= DIGEST_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        snprintf(text + 2 * i, 3, "%02x", got[i]);
    }
    assert_string_equal(text, hex);
}

static void expect_hash(
    enum digest_alg alg, const void *p, size_t n, const char *hex)
{
    uint8_t out[DIGEST_MAX_BYTES];
    digest_hash(alg, p, n, out);
    expect_hex(out, digest_bytes(alg), hex);
}

static void names_find_their_algorithm(void **state)
{
    (void)state;
    enum digest_alg alg;
    assert_true(digest_find("sha1", &alg));
    assert_int_equal(digest_bytes(alg), 20);
    assert_true(digest_find("sha256", &alg));
    assert_int_equal(digest_bytes(alg), 32);
    assert_true(digest_find("sha512", &alg));
    assert_int_equal(digest_bytes(alg), 64);
    assert_false(digest_find("md5", &alg));
    assert_false(digest_find("SHA1", &alg));
    assert_false(digest_find("sha", &alg));
    assert_false(digest_find("", &alg));
}

/* FIPS 180 examples: nothing, one block, two blocks, many blocks. */
static void hashes_are_those_of_fips_180(void **state)
{
    (void)state;
    const char *two =
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    size_t many_n = 1000000;
    char *many = malloc(many_n);
    memset(many, 'a', many_n);
    expect_hash(
        DIGEST_SHA1, NULL, 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    expect_hash(
        DIGEST_SHA1, "abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    expect_hash(DIGEST_SHA1, two, strlen(two),
        "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    expect_hash(
        DIGEST_SHA1, many, many_n, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    expect_hash(DIGEST_SHA256, NULL, 0,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect_hash(DIGEST_SHA256, "abc", 3,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect_hash(DIGEST_SHA256, two, strlen(two),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    expect_hash(DIGEST_SHA256, many, many_n,
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    expect_hash(DIGEST_SHA512, NULL, 0,
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e");
    expect_hash(DIGEST_SHA512, "abc", 3,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
    expect_hash(DIGEST_SHA512, many, many_n,
        "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
        "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b");
    free(many);
}

struct hmac_case {
    const char *key;
    size_t key_n;
    const char *data;
    size_t n;
    const char *sha256;
    const char *sha512;
};

/* RFC 4231, all test cases but the truncated one. */
static void hmacs_are_those_of_rfc_4231(void **state)
{
    (void)state;
    char aa[131], cd[50], dd[50], b0[20], count[25];
    memset(aa, 0xaa, sizeof(aa));
    memset(cd, 0xcd, sizeof(cd));
    memset(dd, 0xdd, sizeof(dd));
    memset(b0, 0x0b, sizeof(b0));
    for (int i = 0; i < 25; i++) {
        count[i] = (char)(i + 1);
    }
    const char *six = "Test Using Larger Than Block-Size Key - Hash Key First";
    const char *seven =
        "This is a test using a larger than block-size key and a larger than "
        "block-size data. The key needs to be hashed before being used by the "
        "HMAC algorithm.";
    const struct hmac_case cases[] = {
        {b0, 20, "Hi There", 8,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
            "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
        {"Jefe", 4, "what do ya want for nothing?", 28,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
        {aa, 20, dd, 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
            "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
        {count, 25, cd, 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db"
            "a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"},
        {aa, 131, six, strlen(six),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
            "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
        {aa, 131, seven, strlen(seven),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944"
            "b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"},
    };
    uint8_t out[DIGEST_MAX_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct hmac_case *c = &cases[i];
        digest_hmac(DIGEST_SHA256, c->key, c->key_n, c->data, c->n, out);
        expect_hex(out, 32, c->sha256);
        digest_hmac(DIGEST_SHA512, c->key, c->key_n, c->data, c->n, out);
        expect_hex(out, 64, c->sha512);
    }
}

/* RFC 2202 3: cases 1, 2 and 6 (a key longer than a block). */
static void hmac_sha1_is_that_of_rfc_2202(void **state)
{
    (void)state;
    uint8_t out[DIGEST_MAX_BYTES];
    uint8_t key[80];
    memset(key, 0x0b, 20);
    digest_hmac(DIGEST_SHA1, key, 20, "Hi There", 8, out);
    expect_hex(out, 20, "b617318655057264e28bc0b6fb378c8ef146be00");
    digest_hmac(
        DIGEST_SHA1, "Jefe", 4, "what do ya want for nothing?", 28, out);
    expect_hex(out, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    memset(key, 0xaa, 80);
    const char *six = "Test Using Larger Than Block-Size Key - Hash Key First";
    digest_hmac(DIGEST_SHA1, key, 80, six, strlen(six), out);
    expect_hex(out, 20, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
}

/* Values of an independent implementation. */
static void keys_are_hashed_only_beyond_a_block(void **state)
{
    (void)state;
    static const struct {
        enum digest_alg alg;
        size_t key_n;
        const char *begins;
    } known[] = {
        {DIGEST_SHA1, 63, "2e5af52724b01b05"},
        {DIGEST_SHA1, 64, "ff048a9095e079c6"},
        {DIGEST_SHA1, 65, "3f64df9eaed4b5ee"},
        {DIGEST_SHA256, 63, "82d18a83ba78eff7"},
        {DIGEST_SHA256, 64, "e831f4f9b3b78daa"},
        {DIGEST_SHA256, 65, "2e55fcaaf08949ee"},
        {DIGEST_SHA512, 127, "84174338f174fd14"},
        {DIGEST_SHA512, 128, "cf26ba19aa33131b"},
        {DIGEST_SHA512, 129, "35d7da0ba2a6697f"},
    };
    uint8_t key[129], out[DIGEST_MAX_BYTES];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        digest_hmac(known[i].alg, key, known[i].key_n, "moon", 4, out);
        expect_hex(out, 8, known[i].begins);
    }
}

static void an_hmac_of_nothing_with_no_key_is_defined(void **state)
{
    (void)state;
    uint8_t out[DIGEST_MAX_BYTES];
    digest_hmac(DIGEST_SHA256, NULL, 0, NULL, 0, out);
    expect_hex(out, 32,
        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void base64_is_that_of_rfc_4648(void **state)
{
    (void)state;
    const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
        {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "+//+"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char text[16] = {0};
        uint8_t back[16];
        size_t n = strlen(pairs[i][0]), back_n = 99;
        assert_int_equal(digest_base64_bytes(n), strlen(pairs[i][1]));
        assert_int_equal(
            digest_base64(pairs[i][0], n, text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
        assert_true(digest_unbase64(text, strlen(text), back, &back_n));
        assert_int_equal(back_n, n);
        assert_memory_equal(back, pairs[i][0], n);
    }
}

static void base64_writes_and_reads_no_byte_too_many(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        size_t text_n = digest_base64_bytes(n), back_n = 0;
        uint8_t *in = malloc(n + 1);
        char *text = malloc(text_n + 1);
        uint8_t *back = malloc(text_n / 4 * 3 + 1);
        for (size_t i = 0; i < n; i++) {
            in[i] = (uint8_t)(i * 37 + n);
        }
        text[text_n] = '~';
        back[text_n / 4 * 3] = '~';
        assert_int_equal(digest_base64(in, n, text), text_n);
        assert_true(digest_unbase64(text, text_n, back, &back_n));
        assert_int_equal(back_n, n);
        assert_memory_equal(in, back, n);
        assert_int_equal(text[text_n], '~');
        assert_int_equal(back[text_n / 4 * 3], '~');
        free(in);
        free(text);
        free(back);
    }
}

static void what_is_not_strict_base64_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"Z", "Zg",
        "Zg=", "Zg===", "=Zg=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm 9v",
        " Zm9", "Zm-_", "Zm9\xc3", "Zh==", "Zm9=", "Zg=v", "Zm9vY===", "*m9v",
        "\x01m9v"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint8_t out[16];
        size_t n;
        assert_false(digest_unbase64(bad[i], strlen(bad[i]), out, &n));
    }
    uint8_t out[4];
    size_t n;
    assert_false(digest_unbase64("Zm\0v", 4, out, &n));
}

static void each_byte_is_a_base64_digit_or_refused(void **state)
{
    (void)state;
    int digits = 0;
    for (int c = 0; c < 256; c++) {
        char text[] = {'A', (char)c, 'A', 'A'};
        uint8_t out[3];
        size_t n;
        bool want = c < 128 && (isalnum(c) || c == '+' || c == '/');
        assert_int_equal(digest_unbase64(text, 4, out, &n), want);
        digits += want;
    }
    assert_int_equal(digits, 64);
}

static void equal_means_every_byte(void **state)
{
    (void)state;
    uint8_t a[64], b[64];
    for (size_t i = 0; i < 64; i++) {
        a[i] = b[i] = (uint8_t)i;
    }
    assert_true(digest_is_equal(a, b, 64));
    assert_true(digest_is_equal(NULL, NULL, 0));
    for (size_t i = 0; i < 64; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b[i] ^= (uint8_t)(1 << bit);
            assert_false(digest_is_equal(a, b, 64));
            b[i] ^= (uint8_t)(1 << bit);
        }
    }
}

/* Chance of a false alarm: 2^-128 for the pair, and for the counts the bounds
 * are more than 12 standard deviations away. */
static void random_bytes_fill_everything_and_do_not_repeat(void **state)
{
    (void)state;
    static uint8_t bytes[100000];
    uint8_t a[16], b[16];
    unsigned counts[256] = {0};
    digest_random(a, sizeof(a));
    digest_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    digest_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        counts[bytes[i]]++;
    }
    for (int c = 0; c < 256; c++) {
        assert_in_range(counts[c], 150, 650);
    }
    uint8_t guarded[] = {7, 7, 7};
    digest_random(guarded + 1, 0);
    assert_int_equal(guarded[1], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_find_their_algorithm),
        cmocka_unit_test(hashes_are_those_of_fips_180),
        cmocka_unit_test(hmacs_are_those_of_rfc_4231),
        cmocka_unit_test(hmac_sha1_is_that_of_rfc_2202),
        cmocka_unit_test(keys_are_hashed_only_beyond_a_block),
        cmocka_unit_test(an_hmac_of_nothing_with_no_key_is_defined),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(base64_writes_and_reads_no_byte_too_many),
        cmocka_unit_test(what_is_not_strict_base64_is_refused),
        cmocka_unit_test(each_byte_is_a_base64_digit_or_refused),
        cmocka_unit_test(equal_means_every_byte),
        cmocka_unit_test(random_bytes_fill_everything_and_do_not_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

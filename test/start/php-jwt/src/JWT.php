<?php
namespace Firebase\JWT;

/** Signs tokens as the library of this name does, with ES256 only. */
class JWT
{
    public static function encode(array $claims, string $key, string $algorithm): string
    {
        if ($algorithm !== "ES256") {
            throw new \DomainException("the stand-in signs with ES256 only");
        }
        $input = self::base64url(json_encode(["typ" => "JWT", "alg" => "ES256"])) . "." . self::base64url(json_encode($claims));
        if (!openssl_sign($input, $der, $key, OPENSSL_ALGO_SHA256)) {
            throw new \DomainException("the key does not sign");
        }
        // ASN.1: a sequence of two integers. A JWT has them as 32 bytes each.
        $r = substr($der, 4, ord($der[3]));
        $s = substr($der, 6 + strlen($r), ord($der[5 + strlen($r)]));
        return $input . "." . self::base64url(self::bytes32($r) . self::bytes32($s));
    }

    private static function bytes32(string $integer): string
    {
        return str_pad(ltrim($integer, "\0"), 32, "\0", STR_PAD_LEFT);
    }

    private static function base64url(string $data): string
    {
        return rtrim(strtr(base64_encode($data), "+/", "-_"), "=");
    }
}

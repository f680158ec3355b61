package redis

// CheckVersionForTest checks what INFO says.
var CheckVersionForTest = checkVersion

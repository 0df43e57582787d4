return {
  message = { max = 256 }, -- a name of 20 characters; a place has 6 bytes
}

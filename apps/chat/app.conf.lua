return {
  message = { max = "16KB" }, -- 1000 characters, however they are escaped
}

export { mount } from "../host/static_host";
